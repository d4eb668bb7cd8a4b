"""Scoring in steps that survive a rerun of the page.

Streamlit stops a page's script at every click and starts it again. The generator of
`adarank_core.score_iter` rests between two modules, so it is kept in the session, and the next
run of the script goes on where the last one was stopped.
"""

import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

from adarank_core.data.tasks import task_names
from adarank_core.data.texts import Texts
from adarank_core.limits import check_limit
from adarank_core.runs.progress import seconds_left
from adarank_core.scoring.scores import Scores
from pages.parts.shared import cached, visitor

__all__ = ["ScoringJob"]

AT_WORK: "weakref.WeakSet[ScoringJob]" = weakref.WeakSet()  # of all sessions
LEFT = 60  # seconds; whose page is closed takes no more steps


@dataclass(eq=False)
class ScoringJob:
    """One scoring that is under way.

    Parameters
    ----------
    model : str
    labels : int
        Outputs of the head: the number of the task's classes, else 2, as on the command line.
    texts : Texts
    trials : int or None
    seed : int
        As `score_iter` takes them; its estimator is left at its default.
    source : {"generic", "task", "sentence"}
    text : str
        The sentence or the task.
    """

    model: str
    labels: int
    texts: Texts
    trials: int | None
    seed: int
    source: str
    text: str
    grid: tuple = ()
    scores: Scores | None = None
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    stepped: float = 0.0
    _steps: Iterator | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple:
        """All that the scores depend on."""
        named = self.source == "generic" or self.text in task_names()
        owner = "" if named else visitor.owner()
        return cached.scores_key(self.model, self.labels, self.texts, self.trials, self.seed, owner)

    @property
    def seconds_left(self) -> float | None:
        """Guess from the steps taken so far; ``None`` before the first."""
        return seconds_left(self.done, self.total, self.seconds)

    def prepare(self) -> None:
        """Load the model and set up the generator; does nothing the second time.

        Raises
        ------
        AdaRankError
            If the model cannot be loaded, or the texts do not suit it.
        """
        if self._steps is not None:
            return
        now = time.monotonic()
        check_limit("scorings", 1 + sum(now - job.stepped < LEFT for job in list(AT_WORK)))
        self.stepped = now
        AT_WORK.add(self)
        bundle = cached.model(self.model, self.labels)
        from adarank_core.scoring.models import adaptable_modules
        from adarank_core.scoring.score import score_iter

        self.grid = adaptable_modules(bundle.model)
        self._steps = score_iter(bundle, self.texts, trials=self.trials, seed=self.seed)

    def advance(self) -> bool:
        """Take one more step of `score_iter`; return whether there was one."""
        # A stopped script may still be inside a step when the next one comes here.
        with self._lock:
            started = self.stepped = time.monotonic()
            progress = next(self._steps, None)
            if progress is None:
                AT_WORK.discard(self)
                return False
            self.seconds += time.monotonic() - started
            self.scores, self.done, self.total = progress.scores, progress.done, progress.total
            return True
