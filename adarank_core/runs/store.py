"""What becomes of runs: tags, deletion that can be undone, a zip to take along, a word each.

A deleted run lies in ``.deleted/<when>/`` beside the others, under its own name.
"""

import os
import shutil
import stat
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from adarank_core.errors import AdaRankError
from adarank_core.files import read_bytes, read_json, replacing, runs_folder, write_json
from adarank_core.limits import is_walled
from adarank_core.runs.answers import answer_or_damage, effect, verdict_or_damage
from adarank_core.runs.jobs import ALIVE, RUN_FILES, Run, new_run_folder, run_folder
from adarank_core.server_paths import without_paths

__all__ = [
    "LONGEST_TAG",
    "delete",
    "deleted",
    "empty",
    "restore",
    "set_tags",
    "summary",
    "tags",
    "write_zip",
]

DELETED = ".deleted"
MOST_TAGS, LONGEST_TAG = 10, 40
NOT_ZIPPED = ("lock", "cancel", "checkpoints")
BINARY = (".safetensors", ".parquet", ".bin", ".npz", ".npy")
TEXT_MEGABYTES = 50


def tags(folder: Path) -> tuple[str, ...]:
    """Return a run's tags; none where ``tags.json`` is missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> tags(Path(tempfile.mkdtemp()))
    ()
    """
    try:
        return _checked_tags(read_json(folder / "tags.json"))
    except AdaRankError:
        return ()


def set_tags(folder: Path, tags: Sequence[str]) -> None:
    """Keep tags with a run, in place of those that it had.

    Parameters
    ----------
    folder : pathlib.Path
    tags : sequence of str
        At most 10, each of 1 to 40 characters; blanks around them and repeated ones are dropped.

    Raises
    ------
    AdaRankError
        If a tag is not right, or the folder is not that of a run.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> set_tags(folder, [" thesis ", "chapter 2"])
    >>> (folder / "tags.json").exists()
    True
    """
    kept = _checked_tags(tags)
    try:
        write_json(_checked(folder) / "tags.json", list(kept))
    except OSError as error:
        raise AdaRankError(f"{str(folder)!r} cannot be written ({error.strerror})") from None


def _checked_tags(tags) -> tuple[str, ...]:
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise AdaRankError(f"tags are {tags!r}; give a list of words")
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip().isprintable():
            raise AdaRankError(f"the tag {tag!r} is no printable text")
        if not 1 <= len(tag.strip()) <= LONGEST_TAG:
            raise AdaRankError(f"the tag {tag!r} must have 1 to {LONGEST_TAG} characters")
    kept = tuple(dict.fromkeys(tag.strip() for tag in tags))
    if len(kept) > MOST_TAGS:
        raise AdaRankError(f"there are {len(kept)} tags; give at most {MOST_TAGS}")
    return kept


def delete(folder: Path) -> Path:
    """Move a run out of the way; `restore` brings it back.

    Returns
    -------
    pathlib.Path
        Where it lies now.

    Raises
    ------
    AdaRankError
        If the run is alive, or the folder is not that of a run or cannot be moved.

    Examples
    --------
    >>> import tempfile
    >>> folder = new_run_folder("compare", Path(tempfile.mkdtemp()))
    >>> delete(folder).name == folder.name
    True
    """
    _checked(folder)
    if _place_before(folder) is not None:
        raise AdaRankError(f"the run {folder.name!r} is deleted already")
    alive = f"the run {folder.name!r} is at work; cancel it before it is deleted"
    if run_folder(folder).state in ALIVE:
        raise AdaRankError(alive)
    try:
        with FileLock(folder / "lock", timeout=1):  # no process can begin in it meanwhile
            return _move(folder, new_run_folder("deleted", folder.parent / DELETED) / folder.name)
    except Timeout:
        raise AdaRankError(alive) from None
    except OSError as error:
        raise AdaRankError(f"{str(folder)!r} cannot be deleted ({error.strerror})") from None


def deleted(parent: Path | None = None) -> list[Path]:
    """Return the folders of all deleted runs, the newest deletion first.

    Examples
    --------
    >>> import tempfile
    >>> deleted(Path(tempfile.mkdtemp()))
    []
    """
    trash = (runs_folder() if parent is None else parent) / DELETED
    if not trash.is_dir():
        return []
    times = sorted((path for path in trash.iterdir() if path.is_dir()), reverse=True)
    return [path for time in times for path in sorted(time.iterdir()) if path.is_dir()]


def empty(parent: Path | None = None) -> None:
    """Delete all deleted runs for good.

    Raises
    ------
    AdaRankError
        If something of them cannot be removed.

    Examples
    --------
    >>> import tempfile
    >>> parent = Path(tempfile.mkdtemp())
    >>> _ = delete(new_run_folder("compare", parent))
    >>> empty(parent)
    >>> deleted(parent)
    []
    """
    trash = (runs_folder() if parent is None else parent) / DELETED
    try:
        if trash.exists():
            shutil.rmtree(trash)
    except OSError as error:
        raise AdaRankError(f"{str(trash)!r} cannot be removed ({error.strerror})") from None


def restore(deleted_folder: Path) -> Path:
    """Bring a deleted run back to its place.

    Parameters
    ----------
    deleted_folder : pathlib.Path
        One of `deleted`.

    Returns
    -------
    pathlib.Path
        Where it lies now.

    Raises
    ------
    AdaRankError
        If it is no deleted run, or there is a run of its name by now.

    Examples
    --------
    >>> import tempfile
    >>> folder = new_run_folder("compare", Path(tempfile.mkdtemp()))
    >>> restore(delete(folder)) == folder
    True
    """
    _checked(deleted_folder)
    place = _place_before(deleted_folder)
    if place is None:
        raise AdaRankError(f"{str(deleted_folder)!r} is not the folder of a deleted run")
    if os.path.lexists(place):
        raise AdaRankError(f"there is a run {place.name!r} already; delete it first")
    try:
        _move(deleted_folder, place)
    except OSError as error:
        reason = error.strerror
        raise AdaRankError(f"{str(deleted_folder)!r} cannot be moved back ({reason})") from None
    with suppress(OSError):
        deleted_folder.parent.rmdir()
    return place


def write_zip(folder: Path, target: Path) -> None:
    """Write all of a run but its locks and checkpoints into a zip file, under the run's name.

    What it says of this machine's folders is left out for visitors; see `server_paths`.

    Parameters
    ----------
    folder : pathlib.Path
        Of a run, alive or not. Links in it are left out.
    target : pathlib.Path
        Replaced if it is there.

    Raises
    ------
    AdaRankError
        If the folder is not that of a run, cannot be read, or the target cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = new_run_folder("compare", Path(tempfile.mkdtemp()))
    >>> set_tags(folder, ["thesis"])
    >>> write_zip(folder, folder.with_suffix(".zip"))
    >>> zipfile.ZipFile(folder.with_suffix(".zip")).namelist() == [f"{folder.name}/tags.json"]
    True
    """
    _checked(folder)
    files = [path for path in _files(folder) if path != target]
    try:
        # Adapters hardly shrink, and events shrink as well at the fastest level.
        how = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
        with (
            replacing(target) as partial,
            zipfile.ZipFile(partial, "w", strict_timestamps=False, **how) as archive,
        ):
            for path in files:
                with suppress(FileNotFoundError):  # replaced a moment ago, by a run at work
                    name = Path(folder.name) / path.relative_to(folder)
                    if is_walled() and _may_name_paths(path, folder):
                        text = read_bytes(path, TEXT_MEGABYTES).decode("utf-8", "replace")
                        archive.writestr(str(name), without_paths(text, all_of_them=True))
                    else:
                        archive.write(path, name)
    except OSError as error:
        message = f"{str(folder)!r} cannot be written as {str(target)!r} ({error.strerror})"
        raise AdaRankError(message) from None


def summary(run: Run) -> dict:
    """Say the little of a run that a list of many shows.

    Returns
    -------
    dict
        ``verdict``: the word of `verdict_or_damage`, such as ``"better"``, or a study's answer;
        ``effect``: the difference behind it, as `effect` has it. Both are ``""`` as long as there
        is none.

    Examples
    --------
    >>> summary(Run(Path("run"), {}, "running"))
    {'verdict': '', 'effect': ''}
    """
    if run.state in ALIVE:
        return {"verdict": "", "effect": ""}
    word = verdict_or_damage(run.folder)[0] or answer_or_damage(run.folder)[0]
    return {"verdict": word, "effect": effect(run.folder)}


def _checked(folder: Path) -> Path:
    """Refuse what is not the folder of a run: pages are told names by their address."""
    plain = ".." not in folder.parts and folder.name and not folder.name.startswith(".")
    if plain and folder.is_dir() and not folder.is_symlink():
        names = {path.name for path in folder.iterdir()}
        if names & {*RUN_FILES, "log.txt"} or names <= {
            "lock",
            "cancel",
            "tags.json",
        }:  # or not begun yet
            return folder
    raise AdaRankError(f"{str(folder)!r} is not the folder of a run")


def _place_before(folder: Path) -> Path | None:
    """Return where a deleted run lay, or None where it is not deleted."""
    trash = folder.absolute().parent.parent
    return trash.parent / folder.name if trash.name == DELETED else None


def _move(folder: Path, place: Path) -> Path:
    try:
        return folder.rename(place)
    except OSError:
        with suppress(OSError):
            place.parent.rmdir()  # made for it, and empty
        raise


def _may_name_paths(path: Path, folder: Path) -> bool:
    """Tell whether a file was written by us; what a visitor gave is given back as it was."""
    return path.suffix not in BINARY and not path.is_relative_to(folder / "inputs")


def _files(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder):  # which enters no links
        folders[:] = sorted(name for name in folders if name not in NOT_ZIPPED)
        paths = (Path(place, name) for name in sorted(names) if name not in NOT_ZIPPED)
        found += [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    return found
