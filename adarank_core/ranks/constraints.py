"""What is asked of the ranks: a budget, bounds and a rule; and the ranks that meet them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real

from adarank_core.errors import AdaRankError
from adarank_core.ranks.plans import HIGHEST_RANK, check_alpha_policy
from adarank_core.ranks.rounding import apportion, proportional, round_down, rounded, spend_rest
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["Bounds", "Budget", "Constraints", "Rule"]
__all__ += ["check_average_rank", "check_modules", "constraints", "largest_rank"]

FAINT = 1e-200  # a weight this far below the largest counts as none: no rank could tell
LARGEST_SIZE = 10**12  # of a module's side, in features
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
        numbers = {name: _number(getattr(self, name)) for name in given}
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
        temperature = _number(self.temperature)
        if not temperature >= 0:
            raise AdaRankError(
                f"temperature is {self.temperature!r}; it must be 0 (uniform) or more"
            )
        object.__setattr__(self, "temperature", temperature)


@dataclass(frozen=True)
class Constraints:
    """What is asked of modules' ranks, in the order of the scores; made by `constraints`.

    Parameters
    ----------
    budget : Budget
    bounds : Bounds
    rule : Rule
    names : tuple of str
    groups : dict of str to list of int
        Positions of the modules that share a budget; one group ``"all"``, or one a family.
    costs, lowest, caps : list of int
        Price of one rank, smallest rank and largest rank; the last two are equal for a module
        that is pinned or excluded.
    budgets : dict of str to int
        By group; empty for adaptive ranks.
    """

    budget: Budget
    bounds: Bounds
    rule: Rule
    names: tuple[str, ...]
    groups: dict[str, list[int]]
    costs: list[int]
    lowest: list[int]
    caps: list[int]
    budgets: dict[str, int]

    def units(self, scores: Sequence[float]) -> dict[str, float]:
        """Return by group the score that is worth one adaptive rank; 0 where all scores are 0."""
        units = {}
        for group, positions in self.groups.items():
            positive = sorted(scores[at] for at in positions if scores[at] > 0)
            units[group] = positive[math.ceil(len(positive) / 10) - 1] if positive else 0.0
        return units

    def ranks(self, scores: Sequence[float], tries: int = 60_000) -> list[int]:
        """Return the ranks of modules with these scores; for ``tries`` see `rounded`.

        Examples
        --------
        >>> from adarank_core.scoring.scores import ModuleScore
        >>> modules = [ModuleScore(name, 0, name, 9, 9, 1.0, 0.0) for name in ("query", "key")]
        >>> asked = constraints(Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules)), 4)
        >>> asked.ranks([1.0, 3.0])
        [2, 6]
        """
        ranks, shares = [0] * len(scores), [0.0] * len(scores)
        order = sorted(range(len(scores)), key=lambda at: (-scores[at], self.names[at]))
        units = self.units(scores) if self.budget.adaptive else {}
        members = {at: group for group, positions in self.groups.items() for at in positions}
        ordered = {group: [] for group in self.groups}
        for at in order:
            ordered[members[at]].append(at)
        for group, positions in ordered.items():
            lowest = [self.lowest[at] for at in positions]
            caps = [self.caps[at] for at in positions]
            if self.budget.adaptive:
                # Cut to nine digits, so that the unit of the scores cannot tip a half over.
                steps = [
                    math.floor(round(self._power(scores[at], units[group], cap), 9) + 0.5)
                    for at, cap in zip(positions, caps, strict=True)
                ]
                whole = [
                    min(max(rank, low), cap)
                    for rank, low, cap in zip(steps, lowest, caps, strict=True)
                ]
            else:
                top = scores[positions[0]]
                wanted = [self._power(scores[at], top, 1.0) for at in positions]
                wanted = [weight if weight > FAINT else 0.0 for weight in wanted]
                costs, budget = [self.costs[at] for at in positions], self.budgets[group]
                parts = proportional(wanted, costs, budget, lowest, caps)
                if self.rule.rounding == "floor":
                    whole = round_down(parts, costs, budget, lowest)
                else:
                    whole = rounded(parts, costs, budget, lowest, caps, tries)
                for at, part in zip(positions, parts, strict=True):
                    shares[at] = part
            for at, rank in zip(positions, whole, strict=True):
                ranks[at] = rank
        if len(self.budgets) > 1 and self.rule.rounding != "floor":
            # What the groups left over is spent together, on the cheapest that can take it.
            rest = sum(self.budgets.values())
            rest -= sum(cost * rank for cost, rank in zip(self.costs, ranks, strict=True))
            order.sort(key=lambda at: (self.costs[at], -shares[at]))  # of equals, order stays
            spend_rest(ranks, self.costs, self.caps, rest, order)
        return ranks

    def _power(self, score: float, unit: float, most: float) -> float:
        """Return ``(score / unit) ** temperature``, ``most`` at most; 1 where there is no unit."""
        if unit == 0:
            return min(1.0, most)
        try:
            return min((score / unit) ** self.rule.temperature, most)
        except OverflowError:
            return most


def constraints(scores: Scores, average_rank: float | None = None, **options) -> Constraints:
    """Check what is asked of the ranks, and spread it over the modules.

    Parameters
    ----------
    scores : Scores
        Names, families and sizes are used; the scores themselves are only checked.
    average_rank : float, optional
    **options
        By name, what `Budget`, `Bounds` and `Rule` hold.

    Returns
    -------
    Constraints

    Raises
    ------
    AdaRankError
        If an option is not valid, or two cannot be met together.
    TypeError
        If an option is not known.
    """
    parts = []
    options["average_rank"] = average_rank
    for kind in (Budget, Bounds, Rule):
        names = [entry.name for entry in fields(kind) if entry.name in options]
        parts.append(kind(**{name: options.pop(name) for name in names}))
    if options:
        raise TypeError(f"ranks have no option {min(options)!r}")
    budget, bounds, rule = parts
    if budget.adaptive and rule.rounding == "floor":
        raise AdaRankError(
            "adaptive conflicts with rounding 'floor': adaptive ranks are rounded to the nearest"
        )
    check_modules(scores)
    modules = scores.modules
    lowest, caps, fixed = bounds.by_module(modules)
    costs, groups, budgets = budget.costs(modules), {}, {}
    for at, module in sorted(enumerate(modules), key=lambda entry: entry[1].name):
        groups.setdefault(module.family if budget.group_by == "family" else "all", []).append(at)
    if not budget.adaptive:
        out = set(bounds.excluded)
        prices = {  # of a rank for every module, in the groups that are not excluded whole
            group: sum(costs[at] for at in positions)
            for group, positions in groups.items()
            if not all(modules[at].name in out for at in positions)
        }
        if not prices:
            raise AdaRankError(f"all {len(modules)} modules are excluded; leave at least one")
        whole = apportion(budget.total(modules), list(prices.values()))
        budgets = {**dict.fromkeys(groups, 0), **dict(zip(prices, whole, strict=True))}
    names = tuple(module.name for module in modules)
    asked = Constraints(budget, bounds, rule, names, groups, costs, lowest, caps, budgets)
    sides = [largest_rank(module) for module in modules]
    for group in prices if budgets else ():
        _check_feasible(asked, group, fixed, sides)
    return asked


def check_average_rank(average_rank: float) -> None:
    """Raise `AdaRankError` unless some module could have such a rank."""
    if not 0 < _number(average_rank) <= HIGHEST_RANK:
        raise AdaRankError(
            f"average_rank is {average_rank!r}; it must be above 0 and at most {HIGHEST_RANK:,}"
        )


def check_modules(scores: Scores) -> None:
    """Raise `AdaRankError` unless every module has a size and a score that can be counted with."""
    if not scores.modules:
        raise AdaRankError("the scores list no modules; there must be at least one")
    for module in scores.modules:
        for side in ("in_features", "out_features"):
            size = getattr(module, side)
            if type(size) is not int or not 1 <= size <= LARGEST_SIZE:
                raise AdaRankError(
                    f"{side} of {module.name!r} is {size!r}; it must be a whole number of 1 to "
                    f"{LARGEST_SIZE:,}"
                )
        for what in ("score", "standard_error"):
            if not _number(getattr(module, what)) >= 0:
                raise AdaRankError(
                    f"the {what.replace('_', ' ')} of {module.name!r} is "
                    f"{getattr(module, what)!r}; it must be finite and 0 or more"
                )


def largest_rank(module: ModuleScore) -> int:
    """Return the largest rank that a plan can give a module: its smaller side."""
    return min(module.in_features, module.out_features, HIGHEST_RANK)


def _number(value) -> int | float:
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


def _check_feasible(asked: Constraints, group: str, fixed: dict, sides: list[int]) -> None:
    """Refuse a budget that the bounds cannot meet, naming the wish that it conflicts with."""
    positions, costs, budget = asked.groups[group], asked.costs, asked.budgets[group]
    min_rank, max_rank = asked.bounds.min_rank, asked.bounds.max_rank
    unit = "LoRA parameters" if asked.budget.by == "parameters" else "ranks"
    where = "" if group == "all" else f" for the family {group!r}"
    average = f" (average rank {budget / sum(costs[at] for at in positions):g})"
    what = f"the budget of {budget:,} {unit}{where}{average} conflicts with"
    settled = sum(costs[at] * asked.caps[at] for at in positions if at in fixed)
    free = [at for at in positions if at not in fixed]
    least = settled + min_rank * sum(costs[at] for at in free)
    most = sum(costs[at] * asked.caps[at] for at in positions)
    beside = " beside the pinned modules" if settled else ""
    if budget < settled:
        raise AdaRankError(
            f"{what} the pinned ranks: it is below {settled:,}, which they cost by themselves"
        )
    if budget < max(least, 1):
        raise AdaRankError(
            f"{what} min_rank {min_rank}{beside}: it is below {max(least, 1):,}, which "
            f"{len(positions)} modules need; raise it or lower min_rank"
        )
    # A rest that buys no rank is no conflict: it is what whole ranks leave over.
    if budget - most >= min(costs[at] for at in positions):
        unbound = settled + sum(costs[at] * sides[at] for at in free)
        if max_rank is not None and budget <= unbound:
            bound = f"max_rank {max_rank}{beside}"
        elif len(free) < len(positions):
            bound = "the pinned and excluded modules"
        else:
            bound = "the modules' sizes"
        raise AdaRankError(
            f"{what} {bound}: it is above {most:,}, the most that {len(positions)} modules can "
            "take so; lower it"
        )
