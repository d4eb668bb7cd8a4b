"""What a comparison is asked for: one object, its JSON and its flags. Without torch."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from adarank_core.checks import is_whole
from adarank_core.comparison.arms import check_arms
from adarank_core.comparison.entries import RequestEntry
from adarank_core.comparison.learning_rates import check_learning_rates
from adarank_core.data.tasks import task_names
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import check_uploaded
from adarank_core.limits import check_limit, check_model_name, check_task_name
from adarank_core.ranks.allocation import check_average_rank
from adarank_core.schemas import validated
from adarank_core.scoring.options import check_trials
from adarank_core.training.settings import Settings

__all__ = ["ComparisonRequest"]


MOST_PROCESSES = 256


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
    learning_rates : sequence of float
        Empty where the settings' own is taken.
    side_by_side : int
        Seeds that are trained at the same time.

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
    learning_rates: tuple[float, ...] = ()
    side_by_side: int = 1

    def __post_init__(self):
        for name in ("arms", "seeds", "learning_rates"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

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
        check_average_rank(self.average_rank)
        check_trials(self.trials)
        if not is_whole(self.side_by_side, 1, MOST_PROCESSES):
            raise AdaRankError(
                f"side_by_side is {quoted(self.side_by_side)}; it must be at least 1 and at most "
                f"{MOST_PROCESSES}"
            )
        for name in ("arms", "seeds", "learning_rates"):
            check_limit(name, len(getattr(self, name)))
        check_limit("seeds_at_once", self.side_by_side)
        self.settings.check_limits()

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
        settings = self.settings
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
            "learning-rates": ",".join(map(repr, self.learning_rates)),
            "side-by-side": self.side_by_side if self.side_by_side > 1 else None,
        }
        return [f"--{name}={value}" for name, value in flags.items() if value not in (None, "")]
