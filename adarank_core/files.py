"""Folders for what AdaRank makes, and JSON files: read with care, written whole or not at all."""

import json
import os
import threading
from collections import Counter
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from adarank_core.errors import AdaRankError

__all__ = [
    "cache_folder",
    "check_format",
    "check_keys",
    "event_in",
    "read_json",
    "runs_folder",
    "write_json",
    "write_whole",
]


def cache_folder() -> Path:
    """Return the folder for what can be rebuilt, made if missing.

    ``$ADARANK_HOME/cache`` when that variable is set, else the user's cache folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> cache_folder().is_dir()
    True
    """
    return _made("cache", user_cache_path("adarank"))


def runs_folder() -> Path:
    """Return the folder that holds one folder a run, made if missing.

    ``$ADARANK_HOME/runs`` when that variable is set, else the user's data folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> runs_folder().name
    'runs'
    """
    return _made("runs", user_data_path("adarank") / "runs")


def _made(name: str, default: Path) -> Path:
    home = os.environ.get("ADARANK_HOME")
    folder = Path(home) / name if home else default
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_format(data, tag: str, what: str) -> None:
    """Raise `AdaRankError` unless ``data`` is a dictionary whose ``format`` is ``tag``."""
    found = data.get("format") if isinstance(data, dict) else None
    if found != tag:
        raise AdaRankError(f"this is not a {what} file: its format is {found!r}, not {tag!r}")


def check_keys(data: dict, keys, what: str) -> None:
    """Raise `AdaRankError` naming the first of ``keys`` that ``data`` lacks."""
    for key in keys:
        if key not in data:
            raise AdaRankError(f"{key!r} is missing from {what}; write it as AdaRank does")


def read_json(path: str | Path) -> dict:
    """Read a JSON file, turning every way in which that can fail into one sentence.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    dict

    Raises
    ------
    AdaRankError
        If the file is missing, unreadable, or not JSON, or names a key twice in one object.

    Examples
    --------
    >>> read_json("missing.json")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'missing.json' cannot be read (No such file or directory)
    """
    try:
        return json.loads(Path(path).read_bytes(), object_pairs_hook=_once)
    except AdaRankError as error:
        raise AdaRankError(f"{str(path)!r} {error}") from None
    except OSError as error:
        raise AdaRankError(f"{str(path)!r} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise AdaRankError(f"{str(path)!r} is not valid JSON ({error})") from None


def _once(pairs: list[tuple]) -> dict:
    """Build an object, refusing a name that stands twice: JSON would quietly keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise AdaRankError(f"names {twice!r} twice in one object; each may stand once")
    return found


def event_in(line: bytes) -> dict | None:
    """Read a line as an event: a JSON object that has ``event``.

    Returns
    -------
    dict or None
        None for any other line: what a library printed, or a killed process began.

    Examples
    --------
    >>> event_in(b'{"event": "started"}'), event_in(b'{"event": "star')
    ({'event': 'started'}, None)
    """
    try:
        event = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None


def write_json(path: Path, data: dict) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part.

    Parameters
    ----------
    path : pathlib.Path
        In a folder that exists.
    data : dict
        Every number in it finite.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; nothing of it is left then.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.json"
    >>> write_json(path, {"rank": 8})
    >>> json.loads(path.read_text())
    {'rank': 8}
    """
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    Parameters
    ----------
    path : pathlib.Path
        In a folder that exists.
    content : bytes

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; nothing of it is left then.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.csv"
    >>> write_whole(path, b"text,label")
    >>> path.read_bytes()
    b'text,label'
    """
    # Threads of one server may write the same file at once.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
