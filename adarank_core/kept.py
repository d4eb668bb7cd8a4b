"""What a run has computed is kept in its folder, and taken over when it goes on.

Beside each file stands a digest of what is in it and of what was asked for. So one that a bad disk
or somebody has changed is told from one that this run wrote, and so is one that came from another
run, seed or arm.
"""

import hashlib
import json
import os
from pathlib import Path

from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json, read_text, write_json, write_text

__all__ = ["keep", "kept"]

DIGEST = ".digest"


def keep(path: Path, data: dict, asked: dict) -> None:
    """Write JSON, and beside it the digest that `kept` looks for.

    Parameters
    ----------
    path : pathlib.Path
        In a folder that exists.
    data : dict
        What was computed.
    asked : dict
        All that it depends on, as JSON has it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    # A process that is killed in between leaves a file that is computed anew, never a wrong one.
    write_text(path.with_suffix(DIGEST), _digest(data, asked))
    write_json(path, data)


def kept(path: Path, asked: dict) -> dict | None:
    """Read what `keep` wrote, if the same is asked for.

    Returns
    -------
    dict or None
        None where there is no such file.

    Raises
    ------
    AdaRankError
        If it is damaged, or of something else.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "result.json"
    >>> keep(path, {"test_loss": 0.5}, {"seed": 0})
    >>> kept(path, {"seed": 0})
    {'test_loss': 0.5}
    >>> kept(path, {"seed": 1})
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'result.json' is damaged or of something else
    """
    if not os.path.lexists(path):
        return None
    try:
        data = read_json(path)
        written = read_text(path.with_suffix(DIGEST))
    except AdaRankError as error:
        sentence = AdaRankError(by_name(error, path))
        raise AdaRankError(by_name(sentence, path.with_suffix(DIGEST))) from None
    if written != _digest(data, asked):
        raise AdaRankError(f"{path.name!r} is damaged or of something else")
    return data


def _digest(data: dict, asked: dict) -> str:
    text = json.dumps([asked, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
