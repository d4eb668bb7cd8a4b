"""Plans of ranks: what they hold, LoRA's alpha for them, and how they are read back."""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Interval, MaxLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.errors import AdaRankError
from adarank_core.schemas import STRICT, FailFast, Name, Text, check_format, check_keys, validated
from adarank_core.scoring.scores import Seed, TextsEntry

__all__ = ["ALPHA_POLICIES", "TASK_TYPES", "WITH_HEAD", "Alpha", "RankPlan", "Ranks", "alphas"]

FORMAT = "adarank-ranks/1"
HIGHEST_RANK = 1_000_000  # no module is so large, and no number computed with it overflows
MOST_MODULES = 1_000_000
# What LoRA multiplies by where all ranks are equal; every policy gives it at the average rank.
SCALING = 2

#: PEFT's names for kinds of tasks.
TASK_TYPES = ("SEQ_CLS", "CAUSAL_LM", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS")
TASK_TYPES += ("FEATURE_EXTRACTION",)
#: Those whose head PEFT trains and saves beside LoRA.
WITH_HEAD = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")

ALPHA_POLICIES = {
    "proportional": "alpha is twice the rank: alpha / rank, LoRA's scaling, is 2 for every module",
    "constant": "one alpha, twice the average rank: by alpha / rank, high ranks are scaled down",
    "rslora": "one alpha, divided by the root of the rank: high ranks are scaled down less",
}

Ranks = Annotated[
    dict[Name, Annotated[int, Interval(ge=0, le=HIGHEST_RANK)]], MaxLen(MOST_MODULES), FailFast()
]
Alpha = Annotated[float, Interval(ge=0, le=SCALING * HIGHEST_RANK)]


class _Budget(TypedDict, total=False):
    __pydantic_config__ = STRICT
    by: Literal["rank", "parameters", "adaptive"]
    requested: float
    spent: float
    residual: float
    average_rank: float
    lora_parameters: float
    rounding: Text
    alpha_policy: Literal[tuple(ALPHA_POLICIES)]


class _RanksFile(TypedDict):
    __pydantic_config__ = STRICT
    model: Name
    ranks: Ranks
    alpha: Annotated[dict[Name, Alpha], MaxLen(MOST_MODULES), FailFast()]
    budget: _Budget
    scores_sha256: Text
    task_type: Literal[TASK_TYPES] | None
    mode: Text
    seed: Seed | None
    trials: Annotated[int, Ge(1)] | None
    texts: TextsEntry


@dataclass(frozen=True)
class RankPlan:
    """One LoRA rank a module, and how it came about.

    Parameters
    ----------
    model : str
        The model's name, as given to `load_model`.
    ranks : dict of str to int
        By the module's full name; a module of rank 0 is not adapted.
    alpha : dict of str to number
        LoRA's alpha by the module's full name.
    budget : dict
        ``by`` (``"rank"``, ``"parameters"`` or ``"adaptive"``), ``requested``, ``spent`` and
        ``residual`` in that unit (ranks for ``"adaptive"``), ``average_rank`` over all modules
        and ``lora_parameters`` as they came out, ``rounding`` and ``alpha_policy`` (see
        ``ALPHA_POLICIES``); for ``"adaptive"`` also ``units``, the score that is worth one rank,
        by family (``"all"`` for all together); and those options of `allocate` that were given.
    scores_sha256 : str
        Digest of the scores that the ranks come from; empty for uniform ranks.
    task_type : str or None
        One of ``TASK_TYPES``, by the head that was scored: ``"SEQ_CLS"`` for a classifier,
        ``"CAUSAL_LM"`` for a causal language model. None for an adapter that tells none.
    mode : str
        Of the scores that the ranks come from, such as ``"paper"``; empty where it is not known.
    seed, trials : int, optional
        Of these scores too; None where they are not known.
    texts : dict
        ``source``, ``count`` and ``sha256`` of the texts that were scored; empty where they are
        not known.

    Raises
    ------
    AdaRankError
        If a value is of another kind, a rank or an alpha is not right or missing, or every rank
        is 0.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"query": 4}, {"query": 8}, {}, "")
    >>> RankPlan.from_dict(plan.to_dict()) == plan
    True
    """

    model: str
    ranks: dict[str, int]
    alpha: dict[str, float]
    budget: dict = field(default_factory=dict)
    scores_sha256: str = ""
    task_type: str | None = "SEQ_CLS"
    mode: str = ""
    seed: int | None = None
    trials: int | None = None
    texts: dict = field(default_factory=dict)

    def __post_init__(self):
        validated(vars(self), _RanksFile, "the ranks")
        lost = next((name for name in self.ranks if name not in self.alpha), None)
        if lost is not None:
            raise AdaRankError(f"the ranks have no alpha for {lost!r}; give every module its own")
        if not any(self.ranks.values()):
            raise AdaRankError("the ranks are all 0 or missing; at least one must be above 0")
        try:
            json.dumps(self.budget, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise AdaRankError(
                f"'budget' of the ranks holds what JSON cannot ({error}); write it as AdaRank does"
            ) from None

    @property
    def alpha_policy(self) -> str:
        """How alpha follows from the ranks: a key of ``ALPHA_POLICIES``."""
        return self.budget.get("alpha_policy", "proportional")

    @property
    def scaling(self) -> dict[str, float]:
        """What LoRA multiplies each adapted module's ``B A`` by.

        Examples
        --------
        >>> RankPlan("tiny", {"query": 4, "key": 0}, {"query": 8, "key": 0}).scaling
        {'query': 2.0}
        """
        rooted = self.alpha_policy == "rslora"
        return {
            name: self.alpha[name] / (math.sqrt(rank) if rooted else rank)
            for name, rank in self.ranks.items()
            if rank > 0
        }

    def to_dict(self) -> dict:
        """Return the ``adarank-ranks/1`` dictionary."""
        return {
            "format": FORMAT,
            "model": self.model,
            "ranks": dict(self.ranks),
            "alpha": dict(self.alpha),
            "budget": dict(self.budget),
            "scores_sha256": self.scores_sha256,
            "task_type": self.task_type,
            **({"mode": self.mode} if self.mode else {}),
            **({} if self.seed is None else {"seed": self.seed}),
            **({} if self.trials is None else {"trials": self.trials}),
            **({"texts": dict(self.texts)} if self.texts else {}),
        }

    @classmethod
    def from_dict(cls, data: dict) -> "RankPlan":
        """Build a plan from an ``adarank-ranks/1`` dictionary, checking every value.

        Raises
        ------
        AdaRankError
            If the format tag, a key, a rank or an alpha is not right.
        """
        check_format(data, FORMAT, "ranks")
        keys = ("model", "ranks", "alpha", "budget", "scores_sha256")
        check_keys(data, keys, "the ranks")
        added = ("task_type", "mode", "seed", "trials", "texts")  # which older files lack
        return cls(**{key: data[key] for key in (*keys, *added) if key in data})

    def lora_config(self, task_type: str | None = None):
        """Return the plan as a ``peft.LoraConfig``.

        Every adapted module stands in ``rank_pattern`` and ``alpha_pattern`` with its full,
        escaped path: PEFT takes the first pattern that fits, and one path can fit no other module.
        A module of rank 0 is left out of ``target_modules``, which is how PEFT leaves it alone.
        ``use_rslora`` is set where the plan's alpha policy says so.

        Parameters
        ----------
        task_type : str, optional
            One of ``TASK_TYPES``; the plan's own if not given.

        Returns
        -------
        peft.LoraConfig

        Raises
        ------
        AdaRankError
            If the task type is unknown.

        Examples
        --------
        >>> plan = RankPlan("tiny", {"query": 4, "key": 0}, {"query": 8, "key": 0})
        >>> config = plan.lora_config()
        >>> config.target_modules, config.rank_pattern
        ({'query'}, {'query': 4})
        """
        from peft import LoraConfig

        return LoraConfig(**self.lora_arguments(task_type))

    def lora_arguments(self, task_type: str | None = None) -> dict:
        """Return the keyword arguments of `lora_config`, for who writes them down.

        Examples
        --------
        >>> RankPlan("tiny", {"query": 4}, {"query": 8}).lora_arguments()["alpha_pattern"]
        {'query': 8}
        """
        if task_type is not None:
            check_task_type(task_type)
        ranks = {name: rank for name, rank in self.ranks.items() if rank > 0}
        # Every module has its own entry, so the common rank decides nothing; the median is for
        # readers.
        middle = sorted(ranks, key=ranks.get)[len(ranks) // 2]
        return {
            "task_type": task_type or self.task_type,
            "r": ranks[middle],
            "lora_alpha": self.alpha[middle],
            "target_modules": list(ranks),
            "rank_pattern": {re.escape(name): rank for name, rank in ranks.items()},
            "alpha_pattern": {re.escape(name): self.alpha[name] for name in ranks},
            "use_rslora": self.alpha_policy == "rslora",
        }


def alphas(ranks: dict[str, int], policy: str = "proportional") -> dict[str, int]:
    """Return LoRA's alpha of every module; 0 where the rank is 0.

    Parameters
    ----------
    ranks : dict of str to int
    policy : {"proportional", "constant", "rslora"}
        ``"proportional"``: twice the rank, so that the scaling alpha / rank is 2 for every module.
        ``"constant"``: one alpha, twice the average rank of the adapted modules, so that a module
        of higher rank is scaled down. ``"rslora"``: one alpha, twice the root of that average;
        LoRA then scales by alpha / sqrt(rank) (Kalajdzievski, arXiv 2312.03732). All of them
        scale by 2, up to rounding to a whole alpha, where the rank is the average.

    Raises
    ------
    AdaRankError
        If a rank is no whole number of 0 or more, or the policy is not known.

    Examples
    --------
    >>> alphas({"query": 4, "key": 12})
    {'query': 8, 'key': 24}
    >>> alphas({"query": 4, "key": 12}, "constant")
    {'query': 16, 'key': 16}
    >>> alphas({"query": 4, "key": 12}, "rslora")
    {'query': 6, 'key': 6}
    """
    check_alpha_policy(policy)
    validated(ranks, Ranks, "the ranks")
    if policy == "proportional":
        return {name: SCALING * rank for name, rank in ranks.items()}
    adapted = [rank for rank in ranks.values() if rank > 0]
    average = sum(adapted) / max(len(adapted), 1)
    one = max(1, round(SCALING * (average if policy == "constant" else math.sqrt(average))))
    return one_alpha(ranks, one)


def one_alpha(ranks: dict[str, int], alpha: float) -> dict[str, float]:
    """Return the same alpha for all modules; 0 where the rank is 0.

    LoRA divides alpha by the rank, so that a module moves as far a step whatever its rank is.

    Examples
    --------
    >>> one_alpha({"query": 4, "key": 12, "value": 0}, 8)
    {'query': 8, 'key': 8, 'value': 0}
    """
    return {name: alpha if rank > 0 else 0 for name, rank in ranks.items()}


def check_alpha_policy(policy) -> None:
    """Raise `AdaRankError` unless this is one of ``ALPHA_POLICIES``."""
    if not isinstance(policy, str) or policy not in ALPHA_POLICIES:
        raise AdaRankError(
            f"alpha_policy is {policy!r}; it must be one of {', '.join(ALPHA_POLICIES)}"
        )


def check_task_type(task_type) -> None:
    """Raise `AdaRankError` unless this is one of ``TASK_TYPES``."""
    if not isinstance(task_type, str) or task_type not in TASK_TYPES:
        raise AdaRankError(f"task_type is {task_type!r}; it must be one of {', '.join(TASK_TYPES)}")
