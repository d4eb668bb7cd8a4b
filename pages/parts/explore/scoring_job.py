"""Scoring in steps that survive a rerun of the page.

Streamlit stops a page's script at every click and starts it again. The generator of
`adarank_core.score_iter` rests between two modules, so it is kept in the session, and the next
run of the script goes on where the last one was stopped.

Sessions that ask for the same share one job: each takes a step where the others left it, and all
see how far it has come. It goes on as long as one of them is there.
"""

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.limits import check_limit
from adarank_core.runs.progress import duration, seconds_left
from adarank_core.runs.run_queue import Turn
from adarank_core.scoring.scores import Scores
from pages.parts.shared import cached, visitor

__all__ = ["ScoringJob"]

#: Of all sessions, by their keys.
UNDER_WAY: "weakref.WeakValueDictionary[tuple, ScoringJob]" = weakref.WeakValueDictionary()
GUARD = threading.Lock()
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
    key: tuple = ()
    owner: str = ""
    error: AdaRankError | None = None
    stepped: float = 0.0
    _turn: Turn | None = None
    _steps: Iterator | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        self.owner = visitor.owner_of(self.source, self.text)
        self.key = self.key_now()

    def key_now(self) -> tuple:
        """Return all that the scores depend on, as it is known by now."""
        return cached.scores_key(
            self.model, self.labels, self.texts, self.trials, self.seed, self.owner
        )

    def shared(self) -> "ScoringJob":
        """Return the job of another session that scores the same, else this one."""
        with GUARD:
            return UNDER_WAY.setdefault(self.key, self)

    def place(self) -> int:
        """Return how many in the queue have to end before this one may begin; 0 if it may."""
        with self._lock:
            if self._steps is not None or self.error is not None:
                return 0
            self._turn = self._turn or Turn(visitor.runs_home())
            return self._turn.place()

    @property
    def seconds_left(self) -> float | None:
        """Guess from the steps taken so far; ``None`` before the first."""
        return seconds_left(self.done, self.total, self.seconds)

    @property
    def step_words(self) -> str:
        """Say how far it has come: a round is a look at all modules on some of the texts."""
        modules, rounds = len(self.grid), self.total // len(self.grid)
        in_round = (self.done - 1) % modules + 1
        said = f"{in_round} of {modules} modules"
        return said if rounds < 2 else f"round {-(-self.done // modules)} of {rounds} · {said}"

    @property
    def time_words(self) -> str:
        """Say how long it goes on: rounds begin with short texts, so later ones take longer."""
        more = "about" if self.done > self.total - len(self.grid) else "at least"
        return f"{more} {duration(self.seconds_left)} left"

    def prepare(self) -> None:
        """Load the model and set up the generator; does nothing the second time.

        Raises
        ------
        AdaRankError
            If the model cannot be loaded, or the texts do not suit it; or if too many are under
            way, which does not end this one.
        """
        with self._lock:
            if self._steps is not None:
                return
            now = time.monotonic()
            check_limit("scorings", 1 + sum(now - job.stepped < LEFT for job in list(AT_WORK)))
            self.stepped = now
            with self._ends():
                AT_WORK.add(self)
                bundle = cached.model(self.model, self.labels)
                from adarank_core.scoring.models import adaptable_modules
                from adarank_core.scoring.score import score_iter

                self.key = self.key_now()  # a model that was just fetched has a revision now
                self.grid = adaptable_modules(bundle.model)
                self._steps = score_iter(bundle, self.texts, trials=self.trials, seed=self.seed)

    def advance(self) -> bool:
        """Take one more step of `score_iter`; return whether there was one.

        Raises
        ------
        AdaRankError
            Whatever ended it, in every session that shares it.
        """
        # A stopped script may still be inside a step when the next one comes here.
        with self._lock, self._ends():
            started = self.stepped = time.monotonic()
            progress = next(self._steps, None)
            if progress is None:
                self._close()
                return False
            self.seconds += time.monotonic() - started
            self.scores, self.done, self.total = progress.scores, progress.done, progress.total
            return True

    @contextmanager
    def _ends(self) -> Iterator[None]:
        """Keep what ends this job, for those who come later."""
        if self.error is not None:
            raise self.error
        try:
            yield
        except AdaRankError as error:
            self.error = error
            self._close()
            raise

    def _close(self) -> None:
        with GUARD:
            for key in [key for key, job in UNDER_WAY.items() if job is self]:
                del UNDER_WAY[key]
            AT_WORK.discard(self)
        if self._turn is not None:
            self._turn.end()
