"""What a comparison is asked for: one object, its JSON and its flags. Without torch."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from adarank_core.checks import is_number, is_whole
from adarank_core.comparison.arms import check_arms
from adarank_core.comparison.entries import RequestEntry
from adarank_core.comparison.learning_rates import (
    AUTO,
    MOST_RATES,
    SEARCH_SEEDS,
    check_learning_rates,
)
from adarank_core.comparison.verdicts import METRICS
from adarank_core.data.tasks import task_names
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import check_uploaded
from adarank_core.limits import check_limit, check_model_name, check_task_name
from adarank_core.ranks.allocation import check_average_rank
from adarank_core.ranks.plans import check_alpha_policy
from adarank_core.schemas import validated
from adarank_core.scoring.options import check_trials
from adarank_core.training.settings import Settings

__all__ = ["ComparisonRequest"]


MOST_PROCESSES = 256
LARGEST_OF_INTEREST = 1e6


@dataclass(frozen=True)
class ComparisonRequest:
    """What a comparison is asked for; see `compare`.

    Parameters
    ----------
    model, task : str
        Names for `load_model` and `load_task`.
    arms : sequence of str
    average_rank : float
    seeds : sequence of int
    trials : int or None
    settings : Settings
    learning_rates : sequence of float or "auto"
        Empty where the settings' own is taken; ``"auto"`` for a grid around it that grows.
    side_by_side : int
        Seeds that are trained at the same time.
    alpha : {"proportional", "constant", "rslora"}
        How alpha follows from the ranks of all arms but a ``ranks.json``; see
        `adarank_core.ranks.plans.ALPHA_POLICIES`.
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}
        The primary one, which the verdict is about.
    smallest_of_interest : float or None
        A difference in it below this one matters to nobody.

    Examples
    --------
    >>> request = ComparisonRequest("embedded", "docstrings", ("uniform",), average_rank=7 / 3)
    >>> ComparisonRequest.from_dict(request.to_dict()) == request
    True
    >>> request.flags()[3:5]
    ['--average-rank=2.3333333333333335', '--seeds=0']
    """

    model: str
    task: str
    arms: tuple[str, ...]
    average_rank: float = 8
    seeds: tuple[int, ...] = (0,)
    trials: int | None = None
    settings: Settings = field(default_factory=Settings)
    learning_rates: tuple[float, ...] | Literal["auto"] = ()
    side_by_side: int = 1
    alpha: str = "proportional"
    metric: str = "test_loss"
    smallest_of_interest: float | None = None

    def __post_init__(self):
        for name in ("arms", "seeds", "learning_rates"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value == AUTO else tuple(value))

    def check(self, folder: Path | None = None) -> None:
        """Raise `AdaRankError` unless such a comparison can be run.

        Parameters
        ----------
        folder : pathlib.Path, optional
            The run's, which may hold copies of plans.
        """
        check_model_name(self.model)
        check_task_name(self.task, task_names())
        for name in self.inputs:
            if name not in task_names():
                check_uploaded(name)
        check_arms(self.arms, self.seeds, folder)
        if self.learning_rates:
            check_learning_rates(self.learning_rates)
            taken = next((seed for seed in self.seeds if seed in SEARCH_SEEDS), None)
            if taken is not None:
                raise AdaRankError(
                    f"the seed {taken} is one that learning rates are searched with, and no arm "
                    "may be tested with it; give another"
                )
        check_average_rank(self.average_rank)
        check_trials(self.trials)
        check_alpha_policy(self.alpha)
        if self.alpha == "constant" and "scale-only" in self.arms:
            raise AdaRankError(
                "with alpha 'constant' the arm 'scale-only' is 'uniform', for all step sizes are "
                "the same; leave it out, or give alpha 'proportional'"
            )
        self._check_question()
        if not is_whole(self.side_by_side, 1, MOST_PROCESSES):
            raise AdaRankError(
                f"side_by_side is {quoted(self.side_by_side)}; it must be at least 1 and at most "
                f"{MOST_PROCESSES}"
            )
        rates = MOST_RATES if self.learning_rates == AUTO else len(self.learning_rates)
        counts = {"arms": len(self.arms), "seeds": len(self.seeds), "learning_rates": rates}
        for name, count in counts.items():
            check_limit(name, count)
        check_limit("seeds_at_once", self.side_by_side)
        self.settings.check_limits()

    def _check_question(self) -> None:
        """Raise `AdaRankError` unless there is such a metric, and such a difference in it."""
        if self.metric not in METRICS:
            raise AdaRankError(
                f"the metric is {quoted(self.metric)}; it must be one of {', '.join(METRICS)}"
            )
        smallest, share = self.smallest_of_interest, self.metric != "test_loss"
        largest = 1 if share else LARGEST_OF_INTEREST
        if smallest is not None and not (is_number(smallest, above=0) and smallest < largest):
            unit = "a share such as 0.01" if share else "nats a text such as 0.01"
            raise AdaRankError(
                f"smallest_of_interest is {quoted(smallest)}; it must be above 0 and below "
                f"{largest:g}, in the unit of {self.metric}: {unit}"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The task, and the files that are arms: what is read from elsewhere."""
        return (self.task, *(arm for arm in self.arms if arm.endswith(".json")))

    def to_dict(self) -> dict:
        """Return the dictionary that a run keeps as ``config.json``, without versions."""
        found = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        return {"command": "compare", **found, "settings": self.settings.to_dict()}

    @classmethod
    def from_dict(cls, data: dict) -> "ComparisonRequest":
        """Build a request from a ``config.json`` or ``comparison.json``, also of older versions.

        Settings that are missing have their default values; keys of other things are passed over.

        Raises
        ------
        AdaRankError
            If a key or a value is not right.
        """
        validated(data, RequestEntry, "the comparison")
        own = {f.name: data[f.name] for f in fields(cls) if data.get(f.name) is not None}
        known = {f.name for f in fields(Settings)}
        settings = {key: v for key, v in own.get("settings", {}).items() if key in known}
        return cls(**{**own, "settings": Settings(**settings)})

    def flags(self) -> list[str]:
        """Return the flags of ``python -m adarank_core compare``, without its output folder.

        Returns
        -------
        list of str
            One word a flag, so that a value that begins with a dash is not taken for a flag.
        """
        settings, rates = self.settings, self.learning_rates
        flags = {
            "model": self.model,
            "task": self.task,
            "arms": ",".join(self.arms),
            "average-rank": repr(self.average_rank),
            "seeds": ",".join(map(str, self.seeds)),
            "trials": self.trials,
            "steps": settings.steps,
            "batch-size": settings.batch_size,
            "learning-rate": repr(settings.learning_rate),
            "max-length": settings.max_length,
            "learning-rates": rates if rates == AUTO else ",".join(map(repr, rates)),
            "side-by-side": self.side_by_side if self.side_by_side > 1 else None,
            "alpha": self.alpha if self.alpha != "proportional" else None,
            "metric": self.metric if self.metric != "test_loss" else None,
            "smallest-of-interest": self.smallest_of_interest and repr(self.smallest_of_interest),
        }
        return [f"--{name}={value}" for name, value in flags.items() if value not in (None, "")]
