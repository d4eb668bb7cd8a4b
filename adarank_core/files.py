"""Files and folders: read with care, written whole or not at all.

Whatever is read passes `check_file`: a named pipe, a device or a file too large to hold is refused
before a byte of it is read. What a file must hold is in `adarank_core.schemas`.
"""

import json
import math
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from adarank_core.errors import AdaRankError
from adarank_core.limits import is_walled, limit, variable

__all__ = [
    "cache_folder",
    "check_file",
    "check_uploaded",
    "event_in",
    "most_megabytes",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_text",
    "replacing",
    "runs_folder",
    "scores_folder",
    "visitors_folder",
    "write_json",
    "write_text",
    "write_whole",
]

JSON_MEGABYTES = 50
DEEPEST = 100  # objects and lists of JSON in one another
TEXT_MEGABYTES = 20
LIMIT = variable("file_mb")  # raises every limit on the size of a file
#: Of the folder, among the runs, that holds a folder for each visitor of a demo.
VISITORS = ".visitors"
KINDS_OF_FILE = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def cache_folder() -> Path:
    """Return the folder for what can be rebuilt, made if missing.

    ``$ADARANK_HOME/cache`` when that variable is set, else the user's cache folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    AdaRankError
        If it cannot be made or written into.

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

    Raises
    ------
    AdaRankError
        If it cannot be made or written into.

    Examples
    --------
    >>> runs_folder().name
    'runs'
    """
    return _made("runs", user_data_path("adarank") / "runs")


def scores_folder() -> Path:
    """Return the folder for scores that were computed before, made if missing.

    ``$ADARANK_HOME/scores`` when that variable is set, else in the user's cache folder.

    Examples
    --------
    >>> scores_folder().name
    'scores'
    """
    return _made("scores", user_cache_path("adarank") / "scores")


def visitors_folder() -> Path:
    """Return the folder that holds a folder of runs and uploads for each visitor.

    Examples
    --------
    >>> visitors_folder().parent == runs_folder()
    True
    """
    return runs_folder() / VISITORS


def check_uploaded(path: str | Path) -> None:
    """Raise `AdaRankError` where walls are up and a visitor has not uploaded this file.

    What is there otherwise, and whether it is, is told to nobody.

    Examples
    --------
    >>> check_uploaded("ranks.json")
    """
    if not is_walled():
        return
    try:
        own = Path(path).resolve().is_relative_to(visitors_folder().resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no path has
        own = False
    if not own:
        raise AdaRankError(
            f"{str(path)!r} is not offered here; choose from the page's list or upload a file"
        )


def _made(name: str, default: Path) -> Path:
    home = os.environ.get("ADARANK_HOME")
    folder = Path(home) / name if home else default
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "it is read-only"
    except OSError as error:
        reason = error.strerror
    except RuntimeError:
        reason = "there is no such user"  # a home like ~nobody/adarank
    if reason:
        raise AdaRankError(
            f"the folder {str(folder)!r} cannot be used ({reason}); set ADARANK_HOME to a folder "
            "that can be written"
        )
    return folder


def most_megabytes(usual: int) -> float:
    """Return how many megabytes of a file are read: the usual, or ``$ADARANK_MAX_FILE_MB``.

    That variable only ever raises a limit.

    Raises
    ------
    AdaRankError
        If the variable is no number above 0.

    Examples
    --------
    >>> most_megabytes(50)
    50
    """
    return max(usual, limit("file_mb") or 0)


def check_file(path: str | Path, usual: int) -> None:
    """Refuse what is no plain file, or too large a one, without opening it.

    Parameters
    ----------
    path : str or pathlib.Path
    usual : int
        Megabytes (of 10^6 bytes) that are read where ``$ADARANK_MAX_FILE_MB`` allows no more.

    Raises
    ------
    AdaRankError
        If it is missing, a folder, a named pipe, a device, a socket, or too large.

    Examples
    --------
    >>> check_file(".", 1)
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: '.' cannot be read (it is a folder); give a plain file
    """
    try:
        about = Path(path).stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(about.st_mode):
        kind = KINDS_OF_FILE.get(stat.S_IFMT(about.st_mode), "no file")
        raise AdaRankError(f"{str(path)!r} cannot be read (it is {kind}); give a plain file")
    if about.st_size > most_megabytes(usual) * 1e6:
        raise _too_large(path, usual, f"has {about.st_size / 1e6:,.1f} MB")


def _unreadable(path: str | Path, error: Exception) -> AdaRankError:
    reason = getattr(error, "strerror", None) or error
    return AdaRankError(f"{str(path)!r} cannot be read ({reason})")


def _too_large(path: str | Path, usual: int, found: str) -> AdaRankError:
    return AdaRankError(
        f"{str(path)!r} {found}; at most {most_megabytes(usual):,g} MB are read, and {LIMIT} "
        "raises that"
    )


def read_bytes(path: str | Path, usual: int = JSON_MEGABYTES) -> bytes:
    """Read a plain file whole, if it is not too large; see `check_file`.

    Raises
    ------
    AdaRankError
        As `check_file`, or if it cannot be read.

    Examples
    --------
    >>> read_bytes("missing.bin", 1)
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'missing.bin' cannot be read (No such file or directory)
    """
    check_file(path, usual)
    most = int(most_megabytes(usual) * 1e6)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            # What grows, or hides its size as /proc does, ends here.
            data = file.read(most + 1) or b""
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > most:
        raise _too_large(path, usual, "is larger than it says")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open a file and never wait: by now it may be a pipe, and /proc/kmsg says that it is none."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: str | Path, usual: int = TEXT_MEGABYTES) -> str:
    """Read a UTF-8 file, with or without a byte order mark; see `read_bytes`.

    Raises
    ------
    AdaRankError
        As `read_bytes`, or if it is not UTF-8.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = path.write_bytes(b"caf\\xe9")
    >>> read_text(path)
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: '...a.txt' is not UTF-8 (byte 3); save it as UTF-8
    """
    try:
        return read_bytes(path, usual).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise AdaRankError(
            f"{str(path)!r} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


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
        If the file is missing, unreadable, too large, or not JSON, or if an object in it names a
        key twice or has a value that is no finite number.

    Examples
    --------
    >>> read_json("missing.json")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'missing.json' cannot be read (No such file or directory)
    """
    data = read_bytes(path)
    try:
        return parse_json(data)
    except AdaRankError as error:
        raise AdaRankError(f"{str(path)!r} {error}") from None


def parse_json(text: str | bytes, finite: bool = True) -> dict:
    """Parse JSON, refusing what others' parsers quietly accept.

    Parameters
    ----------
    text : str or bytes
    finite : bool
        Refuse an object with a value that is infinite or no number.

    Raises
    ------
    AdaRankError
        Without a name before it, for the caller to put there.

    Examples
    --------
    >>> parse_json('{"rank": 8}')
    {'rank': 8}
    >>> parse_json('{"rank": NaN}')
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: gives 'rank' as nan; every number must be finite
    """
    try:
        data = json.loads(text, object_pairs_hook=_finite if finite else _once)
    except AdaRankError:
        raise
    except (ValueError, RecursionError) as error:
        raise AdaRankError(f"is not valid JSON ({error})") from None
    _check_depth(data)
    return data


def _check_depth(data) -> None:
    """Refuse what Python reads but might not compare, show or write again for its depth."""
    level = [data] if type(data) in (dict, list) else []
    for _ in range(DEEPEST):
        inner = (each.values() if type(each) is dict else each for each in level)
        level = [value for values in inner for value in values if type(value) in (dict, list)]
        if not level:
            return
    raise AdaRankError(f"is nested more than {DEEPEST} deep; give one of fewer levels")


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


def _finite(pairs: list[tuple]) -> dict:
    for name, value in pairs:
        _check_finite(name, value)
    return _once(pairs)


def _check_finite(name: str, value) -> None:
    if type(value) is float and not math.isfinite(value):
        raise AdaRankError(f"gives {name!r} as {value}; every number must be finite")
    if type(value) is list:  # objects in it were looked at when they were built
        for item in value:
            _check_finite(name, item)


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
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_whole` does; line ends are written as they are.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "ranks.csv"
    >>> write_text(path, "module,rank\\r\\n")
    >>> path.read_bytes()
    b'module,rank\\r\\n'
    """
    write_whole(path, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    What stood at ``path`` is replaced: a link is not followed, a named pipe not written into.

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
    with replacing(path) as partial, partial.open("xb") as file:  # x follows no link
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write a file at, which then takes the place of another as a whole.

    For what a library writes; see `write_whole` for bytes. Whatever breaks off in between leaves
    the file at ``path`` as it was, and nothing else.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.csv"
    >>> with replacing(path) as partial:
    ...     _ = partial.write_text("text,label")
    >>> path.read_text()
    'text,label'
    """
    # Threads of one server may write the same file at once.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
