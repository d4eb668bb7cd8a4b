"""Texts without the folders of this machine, for visitors who are not to know them."""

import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

from adarank_core.files import VISITORS, cache_folder, runs_folder
from adarank_core.limits import is_walled

__all__ = ["without_paths"]

#: A visitor's folder, and what an upload lies in: digests that tell nobody anything.
DIGESTS = re.compile(r"(?:/\.uploads)?/[0-9a-f]{12,32}(?=/|$)")
WHOLE = re.compile(r"(?<![\w.:/~-])/(?:[\w.+@~-]+/)+([\w.+@~-]*)")


def without_paths(text: str, all_of_them: bool = False) -> str:
    """Return a text that calls files of this machine by their names alone.

    Parameters
    ----------
    text : str
        Returned as it is where there are no walls.
    all_of_them : bool
        Take the folders from whatever looks like a whole path: for logs, in which libraries speak.

    Examples
    --------
    >>> without_paths("'/srv/runs' is full")
    "'/srv/runs' is full"
    """
    if not is_walled() or "/" not in text:
        return text
    for root in _roots():
        if root in text:
            text = re.sub(
                rf"(?<![\w.-]){re.escape(root)}(?P<rest>(?:/[\w.+@~-]+)*)/?", _inside, text
            )
    return WHOLE.sub(r"\1", text) if all_of_them else text


def _inside(found: re.Match) -> str:
    rest = found["rest"].removeprefix(f"/{VISITORS}")
    for _ in range(2):  # a visitor's folder, and then an upload's
        rest = DIGESTS.sub("", rest, count=1)
    return rest.removeprefix("/") or Path(found[0]).name[:12]


def _roots() -> list[str]:
    """Return the folders of this machine that a text may name, the deepest first."""
    folders = {
        runs_folder(),
        cache_folder(),
        Path(tempfile.gettempdir()),
        Path(__file__).parents[1],
        Path(sysconfig.get_path("purelib")),
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(os.environ.get("HF_HOME", "~")).expanduser(),
        Path("~").expanduser(),
        Path.cwd(),
    }
    folders |= {folder.resolve() for folder in folders}
    return sorted({str(folder) for folder in folders} - {"/", "."}, key=len, reverse=True)
