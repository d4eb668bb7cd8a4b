"""The runs and uploads of the visitors of a demo: a folder each, a share each, swept after a time.

A visitor is a random word that his browser keeps. His folder is named by a digest of it, so that
who reads a folder's name cannot become him.
"""

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from adarank_core.data.tasks import task_names
from adarank_core.errors import AdaRankError
from adarank_core.files import visitors_folder
from adarank_core.limits import check_limit, is_walled, limit
from adarank_core.runs import jobs
from adarank_core.runs.run_queue import is_locked

__all__ = ["UPLOADS", "check_room", "home_of", "start", "sweep"]

UPLOADS = ".uploads"
BETWEEN_SWEEPS = 600  # seconds
PATIENCE = 30.0  # seconds; a run is started within some milliseconds


def home_of(visitor: str) -> Path:
    """Return the folder of a visitor's runs, made if missing.

    Examples
    --------
    >>> home_of("somebody").parent == visitors_folder()
    True
    """
    folder = visitors_folder() / hashlib.sha256(visitor.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdaRankError(f"no folder can be made for your runs ({error.strerror})") from None
    return folder


def start(
    arguments: Sequence[str], home: Path, inputs: Sequence[str] = (), folder: Path | None = None
) -> Path:
    """Start a command as `jobs.start` does, if there is room for one more run.

    Parameters
    ----------
    arguments : sequence of str
        A command and its flags.
    home : pathlib.Path
        The folder of all runs, or a visitor's.
    inputs : sequence of str
        Tasks and plans that the command reads. Behind walls a path must lie in ``home``.
    folder : pathlib.Path, optional
        Of a run to go on with; a new one by default.

    Returns
    -------
    pathlib.Path
        The run's folder.

    Raises
    ------
    AdaRankError
        If a cap is reached, see `check_room`; or a path is somebody else's.
    OSError
        If no process can be started.
    """
    if not is_walled():
        folder = folder or jobs.new_run_folder(arguments[0], home)
        jobs.start(arguments, folder)
        return folder
    for name in inputs:
        if name not in task_names() and not Path(name).resolve().is_relative_to(home.resolve()):
            raise AdaRankError("a file that you did not upload cannot be used here; upload it")
    try:
        with FileLock(visitors_folder() / "lock", timeout=PATIENCE):  # two clicks are not one
            check_room(home, runs=1)
            folder = folder or jobs.new_run_folder(arguments[0], home)
            jobs.start(arguments, folder)
            return folder
    except Timeout:
        raise AdaRankError("too many runs are started at this moment; try again") from None


def check_room(home: Path, runs: int = 0, megabytes: float = 0) -> None:
    """Raise `AdaRankError` where a visitor, or all of them, would have more than the caps allow.

    Parameters
    ----------
    home : pathlib.Path
        The visitor's.
    runs : int
        That are to be started.
    megabytes : float
        That are to be kept.

    Examples
    --------
    >>> check_room(home_of("somebody"), runs=1)
    """
    if limit("own_mb") is not None:
        check_limit("own_mb", _megabytes(home) + megabytes)
    if limit("all_mb") is not None:
        check_limit("all_mb", _megabytes(visitors_folder()) + megabytes)
    if runs and limit("own_runs") is not None:
        check_limit("own_runs", _alive(home) + runs)
    if runs and limit("all_runs") is not None:
        check_limit("all_runs", sum(map(_alive, _homes())) + runs)


def sweep() -> None:
    """Delete the runs and uploads that are older than the cap ``run_hours``, at most now and then.

    Runs at work or in the queue stay. What cannot be deleted is left for the next time.

    Examples
    --------
    >>> sweep()
    """
    hours, mark = limit("run_hours"), visitors_folder() / "swept"
    if hours is None or not is_walled():
        return
    now = time.time()
    with suppress(OSError):
        if now - mark.stat().st_mtime < BETWEEN_SWEEPS:
            return
    with suppress(OSError):
        mark.touch()
        for home in _homes():
            trash, uploads = home / ".deleted", home / UPLOADS
            for folder in (*_inside(home), *_inside(trash), *_inside(uploads)):
                old = folder not in (trash, uploads) and now - _newest(folder) > 3600 * hours
                if old and not is_locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
            for left in (trash, uploads, home):
                with suppress(OSError):
                    if now - left.stat().st_mtime > BETWEEN_SWEEPS:  # else somebody may be there
                        left.rmdir()  # where it is empty


def _homes() -> list[Path]:
    return _inside(visitors_folder())


def _inside(folder: Path) -> list[Path]:
    try:
        return [one for one in folder.iterdir() if one.is_dir() and not one.is_symlink()]
    except OSError:  # it is gone
        return []


def _alive(home: Path) -> int:
    return sum(jobs.run_folder(folder).state in jobs.ALIVE for folder in jobs.run_folders(home))


def _sizes(folder: Path) -> list[os.stat_result]:
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it is gone
                found.append(Path(place, name).lstat())
    return found


def _megabytes(folder: Path) -> float:
    return sum(one.st_size for one in _sizes(folder) if stat.S_ISREG(one.st_mode)) / 1e6


def _newest(folder: Path) -> float:
    """Return when something in a folder was written last, in seconds since 1970."""
    times = [one.st_mtime for one in _sizes(folder)]
    with suppress(OSError):
        times.append(folder.stat().st_mtime)
    return max(times, default=0.0)
