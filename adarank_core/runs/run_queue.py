"""Who is at work, and who waits: a few runs at once, first come, first served.

There is no daemon. Every run takes a numbered ticket in the folder ``.queue`` beside its own, and
one that waits looks about once a second whether few enough runs that go before it are alive. A
run is alive while its process holds the lock of its folder, which the system takes back from a
process that is killed: what a dead one left behind blocks nobody.

Visitors of a demo share one queue. There a run's turn is its number, but at least `ROUND` behind
the turn of the same visitor's run before it: others come in between, and nobody waits for ever.
"""

import os
import secrets
import shutil
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from adarank_core.errors import AdaRankError
from adarank_core.files import VISITORS, read_bytes, runs_folder, write_whole
from adarank_core.hardware import cores, gpus
from adarank_core.limits import limit

__all__ = ["Turn", "at_once", "is_locked", "take_gpu", "wait_for_turn"]

CORES_A_RUN = 4
QUEUE_POLL_SECONDS = 1.0
HELD: list[FileLock] = []  # on the GPU that this process works on
TURN = ".turn-"
PATIENCE = 60.0  # seconds; a ticket is taken within some milliseconds
ROUND = 10  # turns between two runs of one visitor


@dataclass(frozen=True)
class _Ticket:
    """A place in the queue.

    ``owner`` is the name of a run's folder, with its visitor's before it where there are visitors.
    Runs that work go before all that wait, and those in the order of their turns.
    """

    path: Path
    owner: str
    turn: int
    works: bool = False

    @property
    def visitor(self) -> str:
        return self.owner.rpartition("/")[0]

    @property
    def order(self) -> tuple:
        return not self.works, self.turn, self.path.name

    def write(self) -> None:
        words = (self.owner, str(self.turn), "works" if self.works else "")
        write_whole(self.path, os.fsencode("\0".join(words)))


def at_once() -> int:
    """Return how many runs may work at the same time, at least one.

    One for every GPU, and where there is none one for every four cores; never more than the cap
    ``runs_at_once``.

    Examples
    --------
    >>> at_once() == (len(gpus()) or max(1, cores() // 4))
    True
    """
    usual, most = len(gpus()) or max(1, cores() // CORES_A_RUN), limit("runs_at_once")
    return usual if most is None else max(1, min(usual, int(most)))


def _queue_of(folder: Path) -> tuple[Path, str]:
    """Return the queue that a run waits in, and what its ticket calls it."""
    home = folder.parent
    if home.parent.name == VISITORS:
        return home.parent.parent / ".queue", f"{home.name}/{folder.name}"
    return home / ".queue", folder.name


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
    queue, owner = _queue_of(recorder.folder.resolve())
    ticket, recorded_place = None, None
    while True:
        try:
            if ticket is None or not ticket.path.exists():  # somebody may have tidied up
                ticket = _take(queue, owner, not waits)
            if not waits:
                return True
            if recorder.should_stop():
                return False
            place = _ahead(ticket) - at_once() + 1
            if place < 1 and _begin(ticket):
                break
        except OSError as error:
            if not waits:
                return True  # to be counted is not worth failing for
            reason = error.strerror or "it is locked"
            raise AdaRankError(f"the queue {str(queue)!r} cannot be written ({reason})") from None
        if place != recorded_place:
            recorder.record({"event": "queued", "place": place})
            recorded_place = place
        time.sleep(QUEUE_POLL_SECONDS)
    if recorded_place is not None:
        recorder.record({"event": "turn"})
    return True


class Turn:
    """A place in the queue of runs for short work inside this process, such as a page's scoring.

    Its turn comes as a run's does, a visitor's too; but one more may work than there are runs at
    once, so that a few seconds of scoring need not wait for the run at work. It ends with `end`,
    with the object or with the process.

    Parameters
    ----------
    home : pathlib.Path, optional
        The folder of a visitor's runs; that of all runs by default.

    Examples
    --------
    >>> first, second, third = Turn(), Turn(), Turn()
    >>> first.place(), first.place() <= second.place() <= third.place()
    (0, True)
    >>> for turn in (first, second, third):
    ...     turn.end()
    """

    def __init__(self, home: Path | None = None):
        self._ticket = None
        with suppress(OSError, AdaRankError):  # to be counted is not worth failing for
            home = (home or runs_folder()).resolve()
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
            self._ticket = _take(*_queue_of(folder))

    def place(self) -> int:
        """Return how many of those before it have to end first."""
        if self._ticket is None or self._ticket.works:
            return 0
        try:
            place = max(0, _ahead(self._ticket) - at_once())
            if place == 0:
                if not _begin(self._ticket, more=1):
                    return 1
                self._ticket = replace(self._ticket, works=True)
        except (OSError, AdaRankError):
            return 0
        return place

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
    names, (queue, _) = gpus(), _queue_of(folder.resolve())
    for name in names if len(names) > 1 else ():
        queue.mkdir(parents=True, exist_ok=True)
        lock = FileLock(queue / f"gpu-{Path(name).name}", timeout=0)
        with suppress(Timeout):
            lock.acquire()
            HELD.append(lock)  # until the process ends
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            return


def _take(queue: Path, owner: str, works: bool = False) -> _Ticket:
    """Write a ticket that is later than all others, and throw those of dead runs away."""
    queue.mkdir(parents=True, exist_ok=True)
    with FileLock(queue / "lock", timeout=PATIENCE):
        alive = []
        for ticket in _tickets(queue):
            # An earlier process in this run's folder is dead: its lock is ours by now.
            if ticket.owner == owner or not _is_alive(queue, ticket.owner):
                ticket.path.unlink(missing_ok=True)
            else:
                alive.append(ticket)
        number = 1 + max((int(ticket.path.name) for ticket in alive), default=0)
        taken = _Ticket(queue / f"{number:09d}", owner, number, works)
        own = [one.turn for one in alive if one.visitor == taken.visitor]
        if own:
            taken = replace(taken, turn=max(number, max(own) + ROUND))
        taken.write()
    return taken


def _begin(ticket: _Ticket, more: int = 0) -> bool:
    """Mark a ticket as that of a run at work, unless another was quicker."""
    with FileLock(ticket.path.parent / "lock", timeout=PATIENCE):
        if _ahead(ticket) >= at_once() + more:
            return False
        replace(ticket, works=True).write()
        return True


def _ahead(ticket: _Ticket) -> int:
    """Count the runs that are alive and go before this one."""
    queue = ticket.path.parent
    return sum(
        one.path != ticket.path and one.order < ticket.order and _is_alive(queue, one.owner)
        for one in _tickets(queue)
    )


def _tickets(queue: Path) -> list[_Ticket]:
    """Return all tickets, the earliest first."""
    found = []
    for path in sorted(path for path in queue.iterdir() if path.name.isdecimal()):
        try:
            words = os.fsdecode(read_bytes(path, 1)).split("\0")
        except AdaRankError:  # thrown away a moment ago, or no ticket
            continue
        turn = words[1] if len(words) > 1 else path.name  # of an older version
        if turn.isdecimal():
            found.append(_Ticket(path, words[0], int(turn), words[2:] == ["works"]))
    return found


def _is_alive(queue: Path, owner: str) -> bool:
    # Names and never a path: whatever stands in a file of this folder is no way out of it.
    visitor, _, name = owner.rpartition("/")
    if any(Path(part).name != part for part in (visitor, name)) or not name:
        return False
    home = queue.parent / VISITORS / visitor if visitor else queue.parent
    return is_locked(home / name)
