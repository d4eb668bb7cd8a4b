"""What can be asked of ranks: a budget, bounds and a rule, each checked as it is made."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real

from adarank_core.errors import AdaRankError
from adarank_core.ranks.plans import HIGHEST_RANK, check_alpha_policy
from adarank_core.scoring.scores import ModuleScore

__all__ = ["Bounds", "Budget", "Rule", "check_average_rank", "finite_number", "largest_rank"]

MOST_PARAMETERS = 10**18


@dataclass(frozen=True)
class Budget:
    """What the ranks may cost, and who shares it.

    Parameters
    ----------
    average_rank : float, optional
        8 where no budget is given. The budget is what uniform ranks of this average would cost
        over all modules, those that are pinned or excluded too.
    parameters : int, optional
        The budget as a number of LoRA parameters, ``sum of rank * (in + out)``.
    share : float, optional
        The same as a share of the scored modules' own weights, ``sum of in * out``: 0.01 is one
        LoRA parameter for a hundred. Embeddings and heads, which scores do not know, are not
        counted.
    adaptive : bool
        No budget: ranks come out of the scores alone. The unit is the tenth percentile of the
        positive scores (nearest rank, over all modules of the group): the module that stands
        there gets rank 1, the smallest step that LoRA has, and every other a rank in proportion,
        rounded, within the bounds. So a plan is as large as the strong modules stand out of the
        weak: equal scores give rank 1 everywhere. Scaling all scores by a constant changes
        nothing, and more texts or trials only sharpen an estimate of the same ranks; noise in
        the scores spreads them, and so makes the average somewhat too high. A percentile, because
        the weakest single score is the one that noise moves most.
    budget_by : {"rank", "parameters"}, optional
        What is kept equal to the uniform plan: the sum of ranks (default with ``average_rank``)
        or the number of LoRA parameters (default, and the only choice, with ``parameters`` and
        ``share``).
    group_by : {"none", "family"}
        ``"family"`` gives every family of modules its own share of the budget, as the published
        code does; a family that is excluded whole leaves its share to the others, and what whole
        ranks leave over is pooled. With ``adaptive`` every family has a unit of its own.

    Raises
    ------
    AdaRankError
        If a value is not valid, or two budgets are given.

    Examples
    --------
    >>> Budget(share=0.01).by
    'parameters'
    """

    average_rank: float | None = None
    parameters: int | None = None
    share: float | None = None
    adaptive: bool = False
    budget_by: str | None = None
    group_by: str = "none"

    def __post_init__(self):
        budgets = ("average_rank", "parameters", "share")
        given = [name for name in budgets if getattr(self, name) is not None]
        if len(given) > 1:
            raise AdaRankError(f"{given[0]} and {given[1]} are both given; give one budget")
        if self.budget_by is not None:
            _check_choice("budget_by", self.budget_by, ("rank", "parameters"))
        _check_choice("group_by", self.group_by, ("none", "family"))
        if self.adaptive and (given or self.budget_by):
            raise AdaRankError(
                f"adaptive conflicts with {[*given, 'budget_by'][0]}: adaptive ranks have no "
                "budget; give one of the two"
            )
        if self.budget_by == "rank" and given and self.average_rank is None:
            raise AdaRankError(
                f"{given[0]} conflicts with budget_by 'rank': it is a number of LoRA parameters; "
                "use budget_by 'parameters'"
            )
        numbers = {name: finite_number(getattr(self, name)) for name in given}
        if self.average_rank is not None:
            check_average_rank(self.average_rank)
        if self.parameters is not None and not 1 <= numbers["parameters"] <= MOST_PARAMETERS:
            raise AdaRankError(
                f"parameters is {self.parameters!r}; it must be at least 1 and not above "
                f"{MOST_PARAMETERS:,}"
            )
        if self.share is not None and not 0 < numbers["share"] <= HIGHEST_RANK:
            raise AdaRankError(
                f"share is {self.share!r}; it must be above 0, such as 0.01 for one percent"
            )
        for name, value in numbers.items():
            object.__setattr__(self, name, value)

    @property
    def by(self) -> str:
        """What the budget counts: ``"rank"``, ``"parameters"``, or ``"adaptive"`` for nothing."""
        if self.adaptive:
            return "adaptive"
        if self.parameters is not None or self.share is not None:
            return "parameters"
        return self.budget_by or "rank"

    def costs(self, modules: Sequence[ModuleScore]) -> list[int]:
        """Return the price of one rank of every module, in what the budget counts."""
        if self.by == "parameters":
            return [module.in_features + module.out_features for module in modules]
        return [1] * len(modules)

    def total(self, modules: Sequence[ModuleScore]) -> int:
        """Return the whole budget of these modules, in what it counts."""
        if self.parameters is not None:
            return round(self.parameters)
        if self.share is not None:
            return round(self.share * sum(m.in_features * m.out_features for m in modules))
        average_rank = 8 if self.average_rank is None else self.average_rank
        return round(average_rank * sum(self.costs(modules)))


@dataclass(frozen=True)
class Bounds:
    """Between which ranks every module's lies.

    Parameters
    ----------
    min_rank : int
        0 lets a module go without.
    max_rank : int, optional
        Never above a module's smaller side in any case.
    pinned : mapping of str to int, optional
        Ranks by module that are taken as they are, whatever ``min_rank`` and ``max_rank`` say.
        They count in the budget; the other modules share the rest.
    excluded : collection of str
        Modules that get rank 0. The budget stays, and goes to the others.

    Raises
    ------
    AdaRankError
        If a value is not valid, or two conflict.

    Examples
    --------
    >>> Bounds(min_rank=0, excluded={"value", "key"}).excluded
    ('key', 'value')
    """

    min_rank: int = 1
    max_rank: int | None = None
    pinned: Mapping[str, int] | None = field(default_factory=dict)
    excluded: Collection[str] = ()

    def __post_init__(self):
        if type(self.min_rank) is not int or self.min_rank < 0:
            raise AdaRankError(
                f"min_rank is {self.min_rank!r}; it must be a whole number of 0 or more"
            )
        if self.max_rank is not None and (type(self.max_rank) is not int or self.max_rank < 1):
            raise AdaRankError(
                f"max_rank is {self.max_rank!r}; it must be a whole number of 1 or more"
            )
        if self.max_rank is not None and self.max_rank < self.min_rank:
            raise AdaRankError(
                f"max_rank is {self.max_rank}, which conflicts with min_rank {self.min_rank}"
            )
        pinned = {} if self.pinned is None else self.pinned
        if not isinstance(pinned, Mapping):
            raise AdaRankError(f"pinned is {pinned!r}; it must give ranks by module name")
        if not isinstance(self.excluded, Collection) or isinstance(self.excluded, str):
            raise AdaRankError(f"excluded is {self.excluded!r}; it must be a list of module names")
        for what, names in (("pinned", pinned), ("excluded", self.excluded)):
            for name in names:
                if not isinstance(name, str):
                    raise AdaRankError(f"{what} names {name!r}; a module's name is a string")
        object.__setattr__(self, "pinned", dict(sorted(pinned.items())))
        object.__setattr__(self, "excluded", tuple(sorted(self.excluded)))

    def by_module(
        self, modules: Sequence[ModuleScore]
    ) -> tuple[list[int], list[int], dict[int, int]]:
        """Return every module's smallest and largest rank, and by position those that are fixed.

        Raises
        ------
        AdaRankError
            If a module that is named does not exist, or cannot have its rank.
        """
        places = {module.name: at for at, module in enumerate(modules)}
        for what, names in (("pinned", self.pinned), ("excluded", self.excluded)):
            for name in names:
                if name not in places:
                    raise AdaRankError(
                        f"{what} names {name!r}, which is none of the {len(places)} scored modules"
                    )
        caps = [largest_rank(module) for module in modules]
        fixed = {places[name]: 0 for name in self.excluded}
        for name, rank in self.pinned.items():
            at = places[name]
            if type(rank) is not int or not 0 <= rank <= caps[at]:
                raise AdaRankError(
                    f"the pinned rank of {name!r} is {rank!r}; it must be a whole number of 0 to "
                    f"{caps[at]}, the module's smaller side"
                )
            if at in fixed and rank > 0:
                raise AdaRankError(
                    f"{name!r} is both pinned to {rank} and excluded; give one of them"
                )
            fixed[at] = rank
        for at, module in enumerate(modules):
            if at not in fixed and caps[at] < self.min_rank:
                raise AdaRankError(
                    f"min_rank is {self.min_rank}, above the largest rank of {module.name!r}, "
                    f"which is {caps[at]} by its size"
                )
        lowest = [fixed.get(at, self.min_rank) for at in range(len(caps))]
        if self.max_rank is not None:
            caps = [min(cap, self.max_rank) for cap in caps]
        return lowest, [fixed.get(at, cap) for at, cap in enumerate(caps)], fixed


@dataclass(frozen=True)
class Rule:
    """How a score becomes a rank, and a rank LoRA's alpha.

    Parameters
    ----------
    temperature : float
        The power to which scores are raised: 0 is uniform, 1 the paper.
    rounding : {"largest-remainder", "floor"}
        Largest remainder spends the budget to the last unit where the modules' sizes allow it.
        ``"floor"`` is the published code: it loses budget, and is kept for its figures. Shares
        are rounded down after they are fitted between the bounds, so it never overspends.
    alpha_policy : {"proportional", "constant", "rslora"}
        See `adarank_core.ranks.plans.alphas`.

    Raises
    ------
    AdaRankError
        If a value is not valid.

    Examples
    --------
    >>> Rule(temperature=0.5).rounding
    'largest-remainder'
    """

    temperature: float = 1.0
    rounding: str = "largest-remainder"
    alpha_policy: str = "proportional"

    def __post_init__(self):
        _check_choice("rounding", self.rounding, ("largest-remainder", "floor"))
        check_alpha_policy(self.alpha_policy)
        temperature = finite_number(self.temperature)
        if not temperature >= 0:
            raise AdaRankError(
                f"temperature is {self.temperature!r}; it must be 0 (uniform) or more"
            )
        object.__setattr__(self, "temperature", temperature)


def check_average_rank(average_rank: float) -> None:
    """Raise `AdaRankError` unless some module could have such a rank."""
    if not 0 < finite_number(average_rank) <= HIGHEST_RANK:
        raise AdaRankError(
            f"average_rank is {average_rank!r}; it must be above 0 and at most {HIGHEST_RANK:,}"
        )


def largest_rank(module: ModuleScore) -> int:
    """Return the largest rank that a plan can give a module: its smaller side."""
    return min(module.in_features, module.out_features, HIGHEST_RANK)


def finite_number(value) -> int | float:
    """Return a finite number as Python's own; nan, which meets no bound, for anything else."""
    try:
        if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            return int(value) if isinstance(value, Integral) else float(value)
    except OverflowError:  # a whole number above what floats hold
        pass
    return math.nan


def _check_choice(name: str, value, allowed: tuple[str, str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise AdaRankError(f"{name} is {value!r}; it must be {allowed[0]!r} or {allowed[1]!r}")
