"""Following a run: what it has recorded since the last look, so that looking often stays cheap."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from adarank_core.runs.progress import Progress, Work

__all__ = ["Follower", "follow"]

KEPT = "compare_follower"
SHARE = 0.01  # of the time may go into drawing again


class Follower:
    """Reads each line of a run's ``events.jsonl`` once.

    Parameters
    ----------
    folder : pathlib.Path

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> follower = Follower(folder)
    >>> _ = (folder / "events.jsonl").write_text('{"event": "started"}\\n{"event": "fin')
    >>> follower.look()
    >>> follower.events
    [{'event': 'started'}]
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.events: list[dict] = []
        self._offset = 0
        self._heard = 0
        self._work: Work | None = None
        self._drawn: tuple | None = None
        self._due = 0.0

    def look(self) -> None:
        """Take up what has been recorded since the last look."""
        try:
            with (self.folder / "events.jsonl").open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except OSError:  # nothing is recorded yet
            return
        whole = added[: added.rfind(b"\n") + 1]  # what follows is still being written
        self._offset += len(whole)
        for line in whole.split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                self.events.append(event)

    def progress(self, config: dict) -> Progress:
        """Tell how far a run with this configuration is; see `progress_of`."""
        if not config or not self.events:
            return Progress("starting: this takes some seconds", 0.0, None, False)
        if self._work is None or self._work.config != config:  # the run was asked for more seeds
            self._work, self._heard = Work(config), 0
        for event in self.events[self._heard :]:
            self._work.hear(event)
        self._heard = len(self.events)
        return self._work.told()

    def drawn(self, key: tuple, draw: Callable[[], tuple]) -> tuple:
        """Return what ``draw`` returns, drawn again only where something new is recorded.

        What takes long to draw is drawn seldom, so that watching takes nothing from the training.

        Parameters
        ----------
        key : tuple
            What is asked for: another is drawn at once.
        draw : callable
        """
        now = time.monotonic()
        wanted = (key, len(self.events))
        if self._drawn is not None:
            had, found = self._drawn
            if had == wanted or (had[0] == key and now < self._due):
                return found
        found = draw()
        self._drawn = (wanted, found)
        self._due = now + (time.monotonic() - now) / SHARE
        return found


def follow(folder: Path) -> Follower:
    """Return this session's follower of a run, after a look at what is new."""
    follower = st.session_state.get(KEPT)
    if follower is None or follower.folder != folder:
        follower = st.session_state[KEPT] = Follower(folder)
    follower.look()
    return follower
