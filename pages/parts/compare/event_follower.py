"""Following a run: what it has recorded since it was read last, so that reading stays cheap."""

import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from adarank_core.runs.events import read_events
from adarank_core.runs.progress import ComparisonWork, RunProgress

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
    >>> follower.read_new()
    >>> follower.events
    [{'event': 'started'}]
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.events: list[dict] = []
        self._offset = 0
        self._counted = 0
        self._work: ComparisonWork | None = None
        self._drawn: tuple | None = None
        self._due = 0.0

    def read_new(self) -> None:
        """Take up what has been recorded since the last reading."""
        added, self._offset = read_events(self.folder / "events.jsonl", self._offset)
        self.events += added

    def progress(self, config: dict) -> RunProgress:
        """Return how far a run with this configuration is; it is empty before the run begins."""
        if not config or not self.events:
            return RunProgress("starting: this takes some seconds", 0.0, None, False)
        if self._work is None or self._work.config != config:  # the run was asked for more seeds
            self._work, self._counted = ComparisonWork(config), 0
        for event in self.events[self._counted :]:
            self._work.add(event)
        self._counted = len(self.events)
        return self._work.progress()

    def cached_drawing(self, key: tuple, draw: Callable[[], tuple]) -> tuple:
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
            last, drawing = self._drawn
            if last == wanted or (last[0] == key and now < self._due):
                return drawing
        drawing = draw()
        self._drawn = (wanted, drawing)
        self._due = now + (time.monotonic() - now) / SHARE
        return drawing


def follow(folder: Path) -> Follower:
    """Return this session's follower of a run, after it has read what is new."""
    follower = st.session_state.get(KEPT)
    if follower is None or follower.folder != folder:
        follower = st.session_state[KEPT] = Follower(folder)
    follower.read_new()
    return follower
