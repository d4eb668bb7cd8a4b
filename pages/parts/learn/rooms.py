"""Rooms: what a teacher sets for a room's link, and what comes back from those who follow it.

A room has a key, which only its teacher's links hold, and a name, which is in everybody's. The name
is a digest of the key: whoever has the name cannot find the key, and after a restart of the server
the same links belong together again. What the room answered is in the memory of this process alone:
no names, no addresses, a few hundred bytes an attendee, and gone when the server ends.
"""

import hashlib
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["HIDEABLE", "ROOMS", "Attendee", "Room", "Rooms", "name_of", "new_key", "new_visitor"]

MOST_ROOMS, MOST_ATTENDEES = 20, 200
NAME, VISITOR = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{8}")
#: What a teacher can hide, and what it is called. Hidden is not locked: it is out of the way.
HIDEABLE = {
    "explore": "page Explore",
    "ranks": "page Ranks",
    "compare": "page Compare",
    "lab": "page Lab",
    "runs": "page Runs",
    "settings": "changing model, text, task, seed",
    "own-sentence": "computing an own sentence",
    "data": "tables and downloads of the lesson",
}


def new_key() -> str:
    """Return a room's key: 128 random bits, for the teacher's links."""
    return secrets.token_urlsafe(16)


def new_visitor() -> str:
    """Return a random name by which a browser is told from others, for as long as its link is."""
    return secrets.token_hex(4)


def name_of(key: str) -> str:
    """Return the name of the room that has this key.

    Examples
    --------
    >>> name_of("a key"), name_of("another key")
    ('7e8af291f94a6872', 'aee204f85912eb89')
    """
    return hashlib.sha256(f"adarank room {key}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Room:
    """What a room's link says.

    Parameters
    ----------
    name : str
        Empty for a lesson without a room.
    steps : tuple of str
        Ids of the steps that are shown, in the lesson's order.
    hidden : tuple of str
        Of `HIDEABLE`.
    feedback : bool
        Tell at once whether an answer is right, and why.
    """

    name: str
    steps: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    feedback: bool = True

    def to_query(self, every: Sequence[str]) -> dict[str, str]:
        """Return the link's parameters; what is as usual is left out.

        Parameters
        ----------
        every : sequence of str
            Ids of all the lesson's steps.

        Examples
        --------
        >>> room = Room("7e8af291f94a6872", ("rank", "fair"), ("compare",), feedback=False)
        >>> room.to_query(["rank", "noise", "fair"])
        {'room': '7e8af291f94a6872', 'lesson': '13', 'hide': 'compare', 'feedback': '0'}
        """
        query = {"room": self.name} if self.name else {}
        if tuple(every) != self.steps:
            query["lesson"] = "".join(str(every.index(step) + 1) for step in self.steps)
        if self.hidden:
            query["hide"] = ".".join(self.hidden)
        if not self.feedback:
            query["feedback"] = "0"
        return query

    @classmethod
    def from_query(cls, query: Mapping[str, str], every: Sequence[str]) -> "Room":
        """Read a link; what cannot be read is as usual.

        Examples
        --------
        >>> Room.from_query({"lesson": "319x", "hide": "zork.data"}, ["rank", "noise", "fair"])
        Room(name='', steps=('rank', 'fair'), hidden=('data',), feedback=True)
        """
        wanted = set(query.get("lesson", ""))
        steps = tuple(step for at, step in enumerate(every) if str(at + 1) in wanted)
        hide = query.get("hide", "").split(".")
        name = query.get("room", "")
        return cls(
            name if NAME.fullmatch(name) else "",
            steps or tuple(every),
            tuple(part for part in HIDEABLE if part in hide),
            query.get("feedback") != "0",
        )


@dataclass(frozen=True)
class Attendee:
    """How far somebody is.

    Parameters
    ----------
    step : str
        Id of the step that is open.
    answers : dict of str to int
        By step, which choice.
    """

    step: str
    answers: dict[str, int] = field(default_factory=dict)


class Rooms:
    """The rooms of this process; sessions are threads, and beyond a number the oldest goes.

    Examples
    --------
    >>> rooms = Rooms()
    >>> rooms.open("7e8af291f94a6872")
    >>> rooms.report("7e8af291f94a6872", "0000000a", Attendee("rank", {"rank": 1}))
    >>> rooms.attendees("7e8af291f94a6872")
    [Attendee(step='rank', answers={'rank': 1})]
    """

    def __init__(self):
        self._rooms: dict[str, dict[str, Attendee]] = {}
        self._lock = threading.Lock()

    def open(self, name: str) -> None:
        """Make a room known, for its teacher; one that is known stays as it is."""
        with self._lock:
            self._rooms.setdefault(name, {})
            while len(self._rooms) > MOST_ROOMS:
                del self._rooms[next(iter(self._rooms))]

    def close(self, name: str) -> None:
        """Forget a room and all that came from it."""
        with self._lock:
            self._rooms.pop(name, None)

    def knows(self, name: str) -> bool:
        """Tell whether a teacher has opened this room since the server began."""
        with self._lock:
            return name in self._rooms

    def report(self, name: str, visitor: str, attendee: Attendee) -> None:
        """Keep how far somebody is; passed over where there is no such room, or it is full."""
        with self._lock:
            room = self._rooms.get(name)
            if room is None or not VISITOR.fullmatch(visitor):
                return
            if visitor in room or len(room) < MOST_ATTENDEES:
                room[visitor] = attendee

    def attendees(self, name: str) -> list[Attendee]:
        """Return all of a room in the order in which they came, without their names."""
        with self._lock:
            return list(self._rooms.get(name, {}).values())


#: Shared by all sessions: a module of a page's parts is imported once a process.
ROOMS = Rooms()
