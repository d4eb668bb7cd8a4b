"""What a study measures with: its model, task and folder, loaded when they are first needed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.kept import keep, kept
from adarank_core.lab.study import StudyRequest
from adarank_core.training.settings import Settings

if TYPE_CHECKING:  # which imports torch
    from adarank_core.comparison.planner import Planned, Planner
    from adarank_core.data.task import Task

__all__ = ["Bench"]

VALIDATION_TEXTS = 256  # of all classes: more would take longer than a study's training


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
        self._planner: tuple[tuple, Planner] | None = None  # the newest: each holds a model

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

    def planner(self, average_rank: float, task: "Task | None" = None) -> "Planner":
        """Return who gives arms their ranks at a budget; its scores are kept for other budgets.

        Parameters
        ----------
        average_rank : float
        task : Task, optional
            By default the study's.
        """
        from adarank_core.comparison.planner import Planner
        from adarank_core.comparison.request import ComparisonRequest
        from adarank_core.training.objectives import objective_for

        task = self.task if task is None else task
        key = (average_rank, task.name, objective_for(task).sha256())
        if self._planner is None or self._planner[0] != key:
            self._planner = None
            request = ComparisonRequest(
                self.request.model,
                task.name,
                ("uniform",),
                average_rank,
                settings=self.training_settings(),
            )
            folder, stop = self.folder / "plans" / key[-1][:12], self.should_stop
            planner = Planner(request, objective_for(task), output=folder, should_stop=stop)
            self._planner = (key, planner)
        return self._planner[1]

    def arm_scores(self, arm: str, seed: int) -> Iterator[float]:
        """Score as an arm of a comparison does; yield the share done, return `Scores`."""
        from adarank_core.comparison.arms import ARMS

        planner, arm = self.planner(self.settings["average_rank"]), ARMS[arm]
        if arm.texts:
            return (yield from self.score(arm.texts(planner, seed), seed=seed))
        yield 0.0
        return arm.score(planner, seed)

    def training_settings(self, **changes) -> Settings:
        """Return what trainings share: the study's own settings, as far as they are these."""
        own = ("steps", "batch_size", "learning_rate", "max_length")
        asked = {name: self.settings[name] for name in own if name in self.settings}
        placed = {"device": self.request.device, "dtype": self.request.dtype}
        settings = Settings(**{**asked, **placed, "evaluations": 1, **changes})
        settings.check_limits()
        return settings

    def train(
        self, planned: "Planned", seed: int, task: "Task | None" = None, **changes
    ) -> dict | None:
        """Train with a plan, and measure on some hundred validation texts; None when stopped.

        Parameters
        ----------
        planned : Planned
            As a planner gives it.
        seed : int
        task : Task, optional
            By default the study's.
        **changes
            Of the `training_settings`.

        Returns
        -------
        dict or None
            ``loss`` (nats a text), ``accuracy`` and ``lora_parameters``, or ``failed``, why it
            could not be trained.
        """
        from adarank_core.training import finetuning
        from adarank_core.training.objectives import objective_for

        task = self.task if task is None else task
        rows = objective_for(task).validation_rows(VALIDATION_TEXTS)
        training = finetuning.Training(
            self.request.model,
            replace(task, validation=rows),
            planned.plan,
            self.training_settings(**changes),
            planned.method,
            "validation",
            seed,
        )
        try:
            result = finetuning.train(
                training, on_event=self.on_event, should_stop=self.should_stop
            )
        except AdaRankError as error:
            return {"failed": str(error)}
        if result is None:
            return None
        return {
            "loss": result.metrics["validation_loss"],
            "accuracy": result.metrics["validation_accuracy"],
            "lora_parameters": result.lora_parameters,
        }

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
