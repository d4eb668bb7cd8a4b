"""Background runs: each is a process of its own that writes into a folder of its own.

A run's folder holds ``config.json`` (what was asked), ``events.jsonl`` (what happened),
``log.txt`` (what the process printed) and its results. Whether it is alive is told by a lock
that its process holds: nothing can be stale, and two processes cannot share a folder.
"""

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Required

from annotated_types import Interval
from filelock import FileLock, Timeout
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.comparison.entries import ClaimEntry, PartialRequestEntry, RequestEntry
from adarank_core.comparison.verdicts import Seed
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import (
    check_file,
    read_bytes,
    read_json,
    runs_folder,
    write_json,
    write_whole,
)
from adarank_core.hardware import cores
from adarank_core.lab.study import Cell
from adarank_core.limits import limit, variable
from adarank_core.ranks.plans import Ranks
from adarank_core.runs import events
from adarank_core.runs.answers import answer_or_damage, verdict_or_damage
from adarank_core.runs.run_queue import at_once, is_locked
from adarank_core.schemas import STRICT, FailFast, Name, Text, validated
from adarank_core.training.settings import MOST, SettingsEntry
from adarank_core.versions import versions

__all__ = [
    "ALIVE",
    "Run",
    "cancel",
    "new_run_folder",
    "open_run",
    "run_folder",
    "run_folders",
    "runs",
    "start",
    "start_command",
]

#: The states of a run that has a process, or soon will.
ALIVE = ("starting", "queued", "running")
ENDINGS = ("finished", "cancelled", "failed")
RUN_FILES = ("config.json", "command.json", "events.jsonl")  # a run has one of them
ASKED = ("config.json", "events.jsonl", "lock")  # all that a run has before it makes anything
BEFORE_WORK = ("started", "queued", "turn")
CONFIG_MEGABYTES = 50
LOG_TAIL = 2048  # bytes
GRACE = 60  # seconds in which a run that is over its time may stop by itself
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Settings(SettingsEntry):
    steps: Required[Annotated[int, Interval(ge=1, le=MOST["steps"])]]
    batch_size: Required[Annotated[int, Interval(ge=1, le=MOST["batch_size"])]]


class _Plan(TypedDict):
    __pydantic_config__ = STRICT
    ranks: Ranks


class _Config(PartialRequestEntry, total=False):
    command: Text
    study: Text
    seed: Seed
    plan: _Plan | None
    settings: _Settings
    study: Name
    study_settings: dict[Name, Cell | list[Cell]]
    device: Text
    dtype: Text
    versions: dict[Text, Text]


class _ComparisonConfig(_Config, RequestEntry):
    average_rank: Required[Annotated[float, Interval(gt=0, le=1e6)]]
    settings: Required[_Settings]


class _Command(TypedDict, total=False):
    __pydantic_config__ = STRICT
    command: Required[Annotated[list[Text], FailFast()]]
    time: events.Moment


@dataclass(frozen=True)
class Run:
    """One run as its folder shows it.

    Parameters
    ----------
    folder : pathlib.Path
    config : dict
        What was asked for, and the versions it ran with; empty as long as that is not known, or
        where it is damaged. Every value in it is of its type and in its range.
    state : str
        ``"starting"``, ``"queued"`` (waiting for other runs), ``"running"``, ``"finished"``,
        ``"cancelled"``, ``"failed"``, ``"interrupted"`` (its process went away without a word) or
        ``"damaged"`` (what it was asked for, what happened or what it came to cannot be read).
    message : str
        Why it failed, or what is damaged and how it is mended, in one sentence; of a finished
        run, why it could not go on when it was asked to. Empty otherwise.
    place : int
        In the queue, where 1 is next; 0 unless it is queued.

    Examples
    --------
    >>> Run(Path("run"), {"task": "docstrings"}, "queued", place=2).events
    ()
    """

    folder: Path
    config: dict
    state: str
    message: str = ""
    place: int = 0

    @cached_property
    def events(self) -> tuple[dict, ...]:
        """What happened, in order; each has ``event`` and ``time`` (seconds since 1970).

        Read when first asked for, so that many runs can be listed at once.
        """
        return events.read_events(self.folder / "events.jsonl")[0]


def new_run_folder(name: str, parent: Path | None = None) -> Path:
    """Make an empty folder whose name starts with the time and ends with ``name``.

    Examples
    --------
    >>> import tempfile
    >>> new_run_folder("compare", Path(tempfile.mkdtemp())).name.endswith("-compare")
    True
    """
    parent = runs_folder() if parent is None else parent
    for _ in range(100):
        folder = parent / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{name}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            time.sleep(0.001)
    raise AdaRankError(f"no new folder could be made in {str(parent)!r}")


def start(arguments: Sequence[str], folder: Path) -> None:
    """Start ``python -m adarank_core`` with these arguments; it outlives this process.

    Where several runs may work at once each gets its share of the cores, unless
    ``OMP_NUM_THREADS`` is set.

    Parameters
    ----------
    arguments : sequence of str
        A command and its flags; ``--output`` is added.
    folder : pathlib.Path
        An empty folder from `new_run_folder`.
    """
    environment = dict(os.environ)
    if at_once() > 1:
        environment.setdefault("OMP_NUM_THREADS", str(cores() // at_once()))
    command = [sys.executable, "-m", "adarank_core", *arguments, "--output", str(folder.resolve())]
    (folder / "cancel").unlink(missing_ok=True)  # of the run that this one goes on with
    asked = {"command": ["python", *command[1:]], "time": round(time.time(), 3)}
    with (folder / "log.txt").open("ab") as log:
        log.write(f"started {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        log.flush()
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            start_new_session=True,
        )
    write_json(folder / "command.json", asked)


@contextmanager
def open_run(folder: Path, config: dict) -> Iterator["_Recorder"]:
    """Hold a run's folder: lock it, write what was asked, record events and how it ended.

    A finished run that is to go on, but comes to nothing new, is finished as before. Of one in an
    empty folder that is refused before it made anything, such as for a task that is not there,
    nothing stays; a folder that somebody gave stays, empty.

    Parameters
    ----------
    folder : pathlib.Path
        Made if missing.
    config : dict
        Kept as ``config.json`` together with the versions of what it ran with.

    Raises
    ------
    AdaRankError
        If another process is at work in the folder, or it cannot be written, then or later.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_run(folder, {"command": "compare"}) as recorder:
    ...     recorder.record({"event": "step", "step": 1})
    >>> run_folder(folder).state
    'finished'
    """
    try:
        is_ours = not folder.exists() or folder.resolve().parent == runs_folder().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=1)  # who looks whether a run is alive holds its lock for a moment
    except Timeout:
        raise AdaRankError(
            f"{str(folder)!r} belongs to a run that is at work; give another output folder"
        ) from None
    except OSError as error:
        raise AdaRankError(f"{str(folder)!r} cannot be written ({error.strerror})") from None
    try:
        was_empty = _holds_only(folder, "lock")
        recorder = _Recorder(folder)
    except (OSError, AdaRankError) as error:
        lock.release()
        reason = getattr(error, "strerror", None) or error
        raise AdaRankError(f"{str(folder)!r} cannot be written ({reason})") from None
    finished = _finished_config(folder)
    try:
        recorder.write_config(config)
        recorder.record({"event": "started"})
        yield recorder
        # A cancel that nobody asked about any more came after the last step.
        recorder.end(recorder.how_it_stopped(), finished)
    except BaseException as error:
        ending = _ending(error, folder)
        with suppress(OSError):  # what ended the run is told, not that this cannot be written
            recorder.end(ending, finished)
            if isinstance(error, AdaRankError) and was_empty and _holds_only(folder, *ASKED):
                _clear(folder, is_ours)
        if _is_no_room(error):
            raise AdaRankError(ending["message"]) from None
        raise
    finally:
        lock.release()


def _holds_only(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} <= {*names}


def _clear(folder: Path, is_ours: bool) -> None:
    """Take away what a run has before it makes anything, and its folder where it made that."""
    for name in ASKED:
        (folder / name).unlink(missing_ok=True)
    if is_ours:
        folder.rmdir()


def _finished_config(folder: Path) -> bytes | None:
    """Return the ``config.json`` of a run that has finished, None of any other."""
    if (events.last_event(folder / "events.jsonl") or {"event": ""})["event"] != "finished":
        return None
    try:
        return read_bytes(folder / "config.json", CONFIG_MEGABYTES)
    except AdaRankError:
        return None


def _ending(error: BaseException, folder: Path) -> dict:
    """Return the event that an error ends a run with."""
    if isinstance(error, KeyboardInterrupt):
        return {"event": "cancelled"}
    if isinstance(error, AdaRankError):
        message = str(error)
    elif _is_no_room(error):
        message = (
            f"{str(folder)!r} cannot be written any more ({error.strerror}); what has "
            "finished stays: make room and go on with --resume"
        )
    else:
        message = f"the run broke off ({type(error).__name__}: {error}); see log.txt"
    return {"event": "failed", "message": message}


def _is_no_room(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in NO_ROOM


class _Recorder:
    """Append events to ``events.jsonl``, and tell whether the run is to stop."""

    def __init__(self, folder: Path):
        self.folder, self.stopped, self.begun = folder, False, False
        self.end_of_time, self.clock = math.inf, None
        path = folder / "events.jsonl"
        if _modified(folder / "cancel") < _modified(path):
            # Answered already; a newer one is meant for this process.
            (folder / "cancel").unlink(missing_ok=True)
        if path.exists():
            check_file(path, math.inf)  # nobody reads a named pipe, and writing would wait
            with path.open("rb+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":  # a line that a killed process began
                        file.write(b"\n")

    def write_config(self, config: dict) -> None:
        """Keep what was asked for; again where more of it is known."""
        write_json(self.folder / "config.json", {**config, "versions": versions()})

    def end(self, ending: dict, finished: bytes | None) -> None:
        """Record how the run ended; nothing new leaves a finished one as it was."""
        if self.clock is not None:
            self.clock.cancel()
        if finished is not None and not self.begun:
            write_whole(self.folder / "config.json", finished)
            ending = {**ending, "event": "finished"}
        self.record(ending)

    def record(self, event: dict) -> None:
        self.begun = self.begun or event["event"] not in (*BEFORE_WORK, *ENDINGS)
        line = json.dumps({**event, "time": round(time.time(), 3)})
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def start_clock(self) -> None:
        """Count the minutes that a run may work, where they are limited, from now on."""
        minutes = limit("run_minutes")
        if minutes is None:
            return
        self.end_of_time = time.monotonic() + 60 * minutes
        self.clock = threading.Timer(60 * minutes + GRACE, self._break_off)
        self.clock.daemon = True
        self.clock.start()

    def _break_off(self) -> None:
        """End this process, which is in something so long that it never asks."""
        self.stopped = True
        with suppress(OSError):
            self.record(self.how_it_stopped())
        os._exit(2)

    def should_stop(self) -> bool:
        over = time.monotonic() > self.end_of_time
        self.stopped = self.stopped or over or (self.folder / "cancel").exists()
        return self.stopped

    def how_it_stopped(self) -> dict:
        """Return the event of an end without an error."""
        if not self.stopped:
            return {"event": "finished"}
        if time.monotonic() < self.end_of_time or (self.folder / "cancel").exists():
            return {"event": "cancelled"}
        message = (
            f"the run was stopped after {limit('run_minutes'):g} minutes, the most that are "
            f"allowed here ({variable('run_minutes')}); what has finished stays"
        )
        return {"event": "failed", "message": message}


def cancel(folder: Path) -> None:
    """Ask a run to stop after its current step; what it has finished stays.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> cancel(folder)
    >>> (folder / "cancel").exists()
    True
    """
    (folder / "cancel").touch()


def run_folder(folder: Path) -> Run:
    """Read a run back from its folder, while it is going or after it ended.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    Run

    Examples
    --------
    >>> import tempfile
    >>> run_folder(Path(tempfile.mkdtemp())).state
    'interrupted'
    """
    state, message, place = _state_of(folder)
    try:
        config = _config_of(folder)
    except AdaRankError as error:
        if state in ALIVE:  # it can still be cancelled
            return Run(folder, {}, state, message, place)
        return Run(folder, {}, "damaged", str(error))
    if state not in ALIVE and (damage := _damage(folder, state)):
        return Run(folder, config, "damaged", damage)
    return Run(folder, config, state, message, place)


def _damage(folder: Path, state: str) -> str:
    """Say what of a run's files is damaged that going on with it mends; empty where none is."""
    if state == "interrupted" and events.ends_in_noise(folder / "events.jsonl"):
        return (
            "'events.jsonl' ends in what is no event; go on with the run (--resume): what has "
            "finished is taken over, and its curves may be gone"
        )
    _, wrong = verdict_or_damage(folder)
    if wrong:
        return (
            f"the verdict cannot be read ({wrong}); go on with the run (--resume), which makes it "
            "anew from the stored results"
        )
    _, wrong = answer_or_damage(folder)
    if wrong:
        return (
            f"the study's rows cannot be read ({wrong}); go on with the run (--resume), which "
            "makes them anew from what it has measured"
        )
    claim = folder / "comparison.json"
    if os.path.lexists(claim):
        try:
            validated(read_json(claim), ClaimEntry, "comparison.json")
        except AdaRankError as error:
            return (
                f"{by_name(error, claim)}; delete that file and go on with the run (--resume), "
                "which takes over the stored results that fit"
            )
    return ""


def _config_of(folder: Path) -> dict:
    """Return what a run was asked for, empty where it was not told yet; refuse a damaged folder."""
    path, recorded = folder / "config.json", folder / "events.jsonl"
    has_events = os.path.lexists(recorded)
    try:
        if has_events:
            check_file(recorded, events.MEGABYTES)
        if not has_events and not os.path.lexists(path):
            return {}
        config = read_json(path)
    except AdaRankError as error:
        sentence = AdaRankError(by_name(error, path))
        raise AdaRankError(by_name(sentence, recorded)) from None
    # The page Compare opens folders of this name.
    schema = _ComparisonConfig if folder.name.endswith("-compare") else _Config
    return validated(config, schema, "config.json")


def start_command(folder: Path) -> list[str]:
    """Return the words of the command that a run was started with; empty where they were not kept.

    Examples
    --------
    >>> import tempfile
    >>> start_command(Path(tempfile.mkdtemp()))
    []
    """
    try:
        kept = validated(read_json(folder / "command.json"), _Command, "command.json")
    except AdaRankError:
        return []
    return kept["command"]


def _state_of(folder: Path) -> tuple[str, str, int]:
    """Return a run's state, why it failed or could not go on, and its place in the queue."""
    last, is_older = _newest_event(folder)
    if is_older or last["event"] not in ENDINGS:  # else there is no need to test the lock
        if is_locked(folder):
            if last["event"] == "queued" and not is_older:
                return "queued", "", last.get("place", 0)
            return "running", "", 0
        last, is_older = _newest_event(folder)  # it may have ended meanwhile
        refused = _refusal(folder / "log.txt") if is_older else ""
        if refused:
            return "finished" if last["event"] == "finished" else "failed", refused, 0
        if is_older and time.time() - _asked(folder) < 60:
            return "starting", "", 0  # importing torch, before it takes the lock, takes seconds
    if last["event"] in ENDINGS:
        return last["event"], str(last.get("message", "")), 0
    return ("running" if is_locked(folder) else "interrupted"), "", 0  # since a moment ago


def _newest_event(folder: Path) -> tuple[dict, bool]:
    """Return the last event, and whether it is older than the newest process."""
    path = folder / "events.jsonl"
    last = events.last_event(path) or {"event": ""}
    is_older = _modified(folder / "command.json") >= _modified(path)
    if is_older and "time" in last:  # or the folder was copied, which gives files new times
        is_older = _asked(folder) >= last["time"]
    return last, is_older


def _asked(folder: Path) -> float:
    """Return when the newest process was started, in seconds since 1970."""
    path = folder / "command.json"
    written = _modified(path)
    try:
        return min(written, validated(read_json(path), _Command, "command.json")["time"])
    except (AdaRankError, KeyError):  # of an older version
        return written


def runs(parent: Path | None = None) -> list[Run]:
    """Return all runs, the newest first.

    Examples
    --------
    >>> import tempfile
    >>> runs(Path(tempfile.mkdtemp()))
    []
    """
    return [run_folder(folder) for folder in run_folders(parent)]


def run_folders(parent: Path | None = None) -> list[Path]:
    """Return the folders of all runs, the newest first.

    Folders whose names begin with a dot, or cannot be shown, are none, nor is one that holds
    neither what was asked for nor what happened.

    Examples
    --------
    >>> import tempfile
    >>> run_folders(Path(tempfile.mkdtemp()))
    []
    """
    parent = runs_folder() if parent is None else parent
    named = (path for path in parent.iterdir() if path.name[0] != "." and path.name.isprintable())
    return sorted(
        (path for path in named if any(os.path.lexists(path / name) for name in RUN_FILES)),
        reverse=True,
    )


def _refusal(path: Path) -> str:
    """Return the error that a process ended with before it held its folder, or nothing."""
    try:
        check_file(path, math.inf)  # of a named pipe there is no end
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            last = file.read().decode(errors="replace").rstrip().split("\n")[-1]
    except (OSError, AdaRankError):
        return ""
    return last.removeprefix("error: ") if last.startswith("error: ") else ""


def _modified(path: Path) -> float:
    """Return when a file was changed last, in seconds since 1970, or 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
