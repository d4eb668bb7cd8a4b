"""What a study measures with: its model, task and folder, loaded when they are first needed."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.kept import keep, kept
from adarank_core.lab.study import StudyRequest

__all__ = ["Bench"]


class Bench:
    """A study's model, task and folder, and what several studies do with them.

    Parameters
    ----------
    request : StudyRequest
    output : pathlib.Path
        Folder of all that the study makes.
    task : str, optional
        Where the task is read, if not at the request's own name for it.
    on_event : callable
        Called with events: ``"notice"`` (``message``), and whatever trainings tell.
    should_stop : callable
        Asked by who trains, after every step.

    Examples
    --------
    >>> from adarank_core.lab.studies import study_named
    >>> request = StudyRequest(study_named("text-source"), settings={"repeats": 2})
    >>> Bench(request, Path("run")).settings["repeats"]
    2
    """

    def __init__(
        self,
        request: StudyRequest,
        output: Path,
        task: str | None = None,
        on_event: Callable[[dict], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.request, self.folder, self.on_event = request, output, on_event
        self.should_stop, self.settings, self.seed = should_stop, request.settings, request.seed
        self._task_name = request.task if task is None else task

    @cached_property
    def task(self):
        """The task."""
        from adarank_core.data.tasks import load_task

        return load_task(self._task_name)

    @cached_property
    def objective(self):
        """What is learned of the task; see `adarank_core.training.objectives`."""
        from adarank_core.training.objectives import objective_for

        return objective_for(self.task)

    @cached_property
    def bundle(self):
        """The model, with the task's head."""
        return self.objective.load(self.request.model, self.request.device, self.request.dtype)

    @cached_property
    def asked(self) -> dict:
        """All that what is measured depends on: a changed model or task is another one."""
        from adarank_core.scoring.models import model_sha256

        digests = {
            "model_sha256": model_sha256(self.bundle),
            "task_sha256": self.objective.sha256(),
        }
        return {**self.request.to_dict(), **digests}

    def draws(self, texts: int, count: int, seed: int | None = None) -> list[Texts]:
        """Draw disjoint samples of the task's training texts.

        Parameters
        ----------
        texts : int
            In each sample.
        count : int
            Samples.
        seed : int, optional
            By default the request's.

        Raises
        ------
        AdaRankError
            If there are too few.
        """
        rows = self.task.train["text"]
        if len(rows) < texts * count:
            raise AdaRankError(
                f"the study {self.request.study.name!r} compares {count} samples of {texts} "
                f"training texts, but the task {self.task.name!r} has {len(rows)}; give a task of "
                f"at least {texts * count}, or smaller settings"
            )
        order = np.random.default_rng(self.seed if seed is None else seed).permutation(len(rows))
        return [
            Texts(self.task.name, tuple(rows.iloc[order[at * texts : (at + 1) * texts]]), True)
            for at in range(count)
        ]

    def score(self, texts: Texts, **options) -> Iterator[float]:
        """Score all modules; yield the share done, return `Scores`."""
        from adarank_core.scoring.score import score_iter

        for progress in score_iter(self.bundle, texts, **options):
            yield progress.done / progress.total
        return progress.scores

    def kept(self, place: int, unit: dict) -> dict | None:
        """Read what was measured of a unit before; say where it is of something else."""
        path = self._path(place)
        try:
            return kept(path, {**self.asked, "unit": unit})
        except AdaRankError as error:
            message = f"{', '.join(map(str, unit.values()))} is measured anew: {error}"
            self.on_event({"event": "notice", "message": message})
            return None

    def keep(self, place: int, unit: dict, measured: dict) -> None:
        """Keep what was measured of a unit."""
        path = self._path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        keep(path, measured, {**self.asked, "unit": unit})

    def _path(self, place: int) -> Path:
        return self.folder / "units" / f"{place:03d}.json"
