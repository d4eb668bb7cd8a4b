"""Who is at work, and who waits: a few runs at once, first come, first served.

There is no daemon. Every run takes a numbered ticket in the folder ``.queue`` beside its own, and
one that waits looks about once a second whether few enough runs with earlier tickets are alive. A
run is alive while its process holds the lock of its folder, which the system takes back from a
process that is killed: what a dead one left behind blocks nobody.
"""

import os
import secrets
import shutil
import time
import weakref
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from adarank_core.errors import AdaRankError
from adarank_core.files import read_bytes, runs_folder, write_whole
from adarank_core.hardware import cores, gpus

__all__ = ["Turn", "at_once", "is_locked", "take_gpu", "wait_for_turn"]

CORES_A_RUN = 4
QUEUE_POLL_SECONDS = 1.0
HELD: list[FileLock] = []  # on the GPU that this process works on
TURN = ".turn-"
PATIENCE = 60.0  # seconds; a ticket is taken within some milliseconds


def at_once() -> int:
    """Return how many runs may work at the same time, at least one.

    One for every GPU, and where there is none one for every four cores.

    Examples
    --------
    >>> at_once() == (len(gpus()) or max(1, cores() // 4))
    True
    """
    return len(gpus()) or max(1, cores() // CORES_A_RUN)


def is_locked(folder: Path) -> bool:
    """Tell whether a process is at work in a run's folder.

    Examples
    --------
    >>> import tempfile
    >>> from adarank_core.runs.jobs import open_run
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> with open_run(folder, {}):
    ...     print(is_locked(folder))
    True
    >>> is_locked(folder)
    False
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR)
    except OSError:  # there is none, or it is somebody else's
        return False
    try:  # a FileLock is the same lock, but takes 20 times as long, and there may be many runs
        return not lock_descriptor(descriptor, blocking=False)
    finally:
        os.close(descriptor)  # and the lock with it


def wait_for_turn(recorder, waits: bool) -> bool:
    """Take a ticket for an open run, and wait with it until the run may work.

    Parameters
    ----------
    recorder
        As `open_run` gives it. While the run waits, ``{"event": "queued", "place": n}`` is
        recorded whenever ``n``, the number of runs that have to end first, changes; and
        ``{"event": "turn"}`` when it has waited enough.
    waits : bool
        Whether it waits. A run that does not is counted by those that do.

    Returns
    -------
    bool
        False when the run was cancelled while it waited.

    Raises
    ------
    AdaRankError
        If the run is to wait and the queue's folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from adarank_core.runs.jobs import open_run
    >>> with open_run(Path(tempfile.mkdtemp()) / "run", {}) as recorder:
    ...     print(wait_for_turn(recorder, waits=True))
    True
    """
    folder = recorder.folder.resolve()
    queue, ticket, recorded_place = folder.parent / ".queue", None, None
    while True:
        try:
            if ticket is None or not ticket.exists():  # somebody may have tidied up
                ticket = _take(queue, folder.name)
        except OSError as error:
            if not waits:
                return True  # to be counted is not worth failing for
            reason = error.strerror or "it is locked"
            raise AdaRankError(f"the queue {str(queue)!r} cannot be written ({reason})") from None
        if not waits:
            return True
        if recorder.should_stop():
            return False
        place = _ahead(ticket) - at_once() + 1
        if place < 1:
            break
        if place != recorded_place:
            recorder.record({"event": "queued", "place": place})
            recorded_place = place
        time.sleep(QUEUE_POLL_SECONDS)
    if recorded_place is not None:
        recorder.record({"event": "turn"})
    return True


class Turn:
    """A place in the queue of runs for short work inside this process, such as a page's scoring.

    First come, first served, as among runs; but one more may work than there are runs at once, so
    that a few seconds of scoring need not wait for the run at work. It ends with `end`, with the
    object or with the process.

    Examples
    --------
    >>> first, second, third = Turn(), Turn(), Turn()
    >>> first.place(), first.place() <= second.place() <= third.place()
    (0, True)
    >>> for turn in (first, second, third):
    ...     turn.end()
    """

    def __init__(self):
        self._ticket = None
        with suppress(OSError, AdaRankError):  # to be counted is not worth failing for
            home = runs_folder()
            for left in home.glob(f"{TURN}*"):  # by a process that was killed
                if not is_locked(left):
                    shutil.rmtree(left, ignore_errors=True)
            name = f"{TURN}{secrets.token_hex(8)}"
            folder, begun = home / name, home / f".begun{name}"
            begun.mkdir()
            descriptor = os.open(begun / "lock", os.O_RDWR | os.O_CREAT)
            lock_descriptor(descriptor, blocking=False)
            begun.rename(folder)  # nobody takes it for one that was left, without a lock
            # Threads may end it, and a FileLock belongs to one.
            self.end = weakref.finalize(self, _end_turn, descriptor, folder)
            self._ticket = _take(home / ".queue", folder.name)

    def place(self) -> int:
        """Return how many of those before it have to end first."""
        if self._ticket is None:
            return 0
        try:
            return max(0, _ahead(self._ticket) - at_once())
        except OSError:
            return 0

    def end(self) -> None:
        """Give the place back; does nothing the second time."""


def _end_turn(descriptor: int, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)  # whose ticket is that of a dead one now


def take_gpu(folder: Path) -> None:
    """Let this process see one GPU alone: the first that no other run holds, if one is free.

    Parameters
    ----------
    folder : pathlib.Path
        Of a run that has its turn.

    Examples
    --------
    >>> import tempfile
    >>> take_gpu(Path(tempfile.mkdtemp()) / "run")
    """
    names, queue = gpus(), folder.resolve().parent / ".queue"
    for name in names if len(names) > 1 else ():
        queue.mkdir(parents=True, exist_ok=True)
        lock = FileLock(queue / f"gpu-{Path(name).name}", timeout=0)
        with suppress(Timeout):
            lock.acquire()
            HELD.append(lock)  # until the process ends
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            return


def _take(queue: Path, name: str) -> Path:
    """Write a ticket that is later than all others, and throw those of dead runs away."""
    queue.mkdir(parents=True, exist_ok=True)
    with FileLock(queue / "lock", timeout=PATIENCE):
        last = 0
        for ticket, owner in _tickets(queue):
            # An earlier process in this run's folder is dead: its lock is ours by now.
            if owner == name or not _is_alive(queue, owner):
                ticket.unlink(missing_ok=True)
            else:
                last = int(ticket.name)
        ticket = queue / f"{last + 1:09d}"
        write_whole(ticket, os.fsencode(name))
    return ticket


def _ahead(ticket: Path) -> int:
    """Count the runs with earlier tickets that are alive."""
    tickets = _tickets(ticket.parent)
    return sum(earlier < ticket and _is_alive(ticket.parent, owner) for earlier, owner in tickets)


def _tickets(queue: Path) -> list[tuple[Path, str]]:
    """Return all tickets, the earliest first, each with the name of its run's folder."""
    found = []
    for path in sorted(path for path in queue.iterdir() if path.name.isdecimal()):
        try:
            found.append((path, os.fsdecode(read_bytes(path, 1))))
        except AdaRankError:  # thrown away a moment ago, or no ticket
            continue
    return found


def _is_alive(queue: Path, owner: str) -> bool:
    # A name and never a path: whatever stands in a file of this folder is no way out of it.
    return Path(owner).name == owner != "" and is_locked(queue.parent / owner)
