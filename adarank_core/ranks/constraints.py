"""What is asked of the ranks: budgets, bounds, pins; and the ranks that meet it."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from adarank_core.errors import AdaRankError
from adarank_core.ranks.plans import HIGHEST_RANK
from adarank_core.ranks.rounding import proportional, rounded, spend_rest
from adarank_core.scoring.scores import Scores

__all__ = ["Constraints", "check_average_rank", "constraints"]

FAINT = 1e-200  # a weight this far below the largest counts as none: no rank could tell


@dataclass(frozen=True)
class Constraints:
    """Bounds and budgets of modules, in the order of the scores; made by `constraints`.

    Parameters
    ----------
    names : tuple of str
    groups : dict of str to list of int
        Positions of the modules that share a budget; one group ``"all"``, or one a family.
    costs, lowest, caps : list of int
        Price of one rank, smallest rank and largest rank; the last two are equal for a module
        that is pinned or excluded.
    budgets : dict of str to int
        By group; empty for adaptive ranks.
    budget_by : {"rank", "parameters", "adaptive"}
    temperature : float
    rounding : {"largest-remainder", "floor"}
    """

    names: tuple[str, ...]
    groups: dict[str, list[int]]
    costs: list[int]
    lowest: list[int]
    caps: list[int]
    budgets: dict[str, int]
    budget_by: str
    temperature: float
    rounding: str

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
        units = self.units(scores) if self.budget_by == "adaptive" else {}
        members = {at: group for group, positions in self.groups.items() for at in positions}
        ordered = {group: [] for group in self.groups}
        for at in order:
            ordered[members[at]].append(at)
        for group, positions in ordered.items():
            lowest = [self.lowest[at] for at in positions]
            caps = [self.caps[at] for at in positions]
            if self.budget_by == "adaptive":
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
                costs = [self.costs[at] for at in positions]
                parts = proportional(wanted, costs, self.budgets[group], lowest, caps)
                if self.rounding == "floor":
                    whole = [math.floor(part + 1e-9) for part in parts]
                else:
                    whole = rounded(parts, costs, self.budgets[group], caps, tries)
                for at, part in zip(positions, parts, strict=True):
                    shares[at] = part
            for at, rank in zip(positions, whole, strict=True):
                ranks[at] = rank
        if len(self.budgets) > 1 and self.rounding != "floor":
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
            return min((score / unit) ** self.temperature, most)
        except OverflowError:
            return most


def constraints(
    scores: Scores,
    average_rank: float | None = None,
    *,
    parameters: int | None = None,
    share: float | None = None,
    adaptive: bool = False,
    budget_by: str | None = None,
    group_by: str = "none",
    min_rank: int = 1,
    max_rank: int | None = None,
    pinned: Mapping[str, int] | None = None,
    excluded: Collection[str] = (),
    temperature: float = 1.0,
    rounding: str = "largest-remainder",
) -> Constraints:
    """Check what is asked of the ranks, and spread it over the modules.

    Parameters
    ----------
    scores : Scores
        Names, families and sizes are used; the scores themselves are only checked.
    average_rank, parameters, share, adaptive, budget_by, group_by, min_rank, max_rank, pinned, \
excluded, temperature, rounding
        See `adarank_core.ranks.allocation.allocate`.

    Returns
    -------
    Constraints

    Raises
    ------
    AdaRankError
        If an option is not valid, or two cannot be met together.
    """
    budget_by = _budget_kind(average_rank, parameters, share, adaptive, budget_by)
    _check_options(group_by, min_rank, max_rank, temperature, rounding, adaptive)
    modules = scores.modules
    for module in modules:
        if not 0 <= module.score < math.inf:
            raise AdaRankError(
                f"the score of {module.name!r} is {module.score}; it must be finite and 0 or more"
            )
    lowest, caps, fixed = _bounds(scores, min_rank, max_rank, pinned or {}, excluded)
    sizes = [module.in_features + module.out_features for module in modules]
    costs = sizes if budget_by == "parameters" else [1] * len(modules)
    groups = {}
    for at, module in sorted(enumerate(modules), key=lambda entry: entry[1].name):
        groups.setdefault(module.family if group_by == "family" else "all", []).append(at)
    budgets = {}
    if not adaptive:
        if share is not None:
            parameters = share * sum(module.in_features * module.out_features for module in modules)
        if parameters is None:
            total = round((8 if average_rank is None else average_rank) * sum(costs))
        else:
            total = round(parameters)
        out = set(excluded)
        open_groups = {
            group: sum(costs[at] for at in positions)
            for group, positions in groups.items()
            if not all(modules[at].name in out for at in positions)
        }
        if not open_groups:
            raise AdaRankError(f"all {len(modules)} modules are excluded; leave at least one")
        everything = sum(open_groups.values())
        parts = [total * cost / everything for cost in open_groups.values()]
        whole = rounded(parts, [1] * len(parts), total, [total] * len(parts))
        budgets = {**dict.fromkeys(groups, 0), **dict(zip(open_groups, whole, strict=True))}
    asked = Constraints(
        tuple(module.name for module in modules),
        groups,
        costs,
        lowest,
        caps,
        budgets,
        "adaptive" if adaptive else budget_by,
        temperature,
        rounding,
    )
    sides = [min(module.in_features, module.out_features) for module in modules]
    for group, budget in budgets.items():
        if budget or group in open_groups:
            _check_feasible(asked, group, fixed, sides, min_rank, max_rank)
    return asked


def check_average_rank(average_rank: float) -> None:
    """Raise `AdaRankError` unless some module could have such a rank."""
    if not 0 < average_rank <= HIGHEST_RANK:
        raise AdaRankError(
            f"average_rank is {average_rank}; it must be above 0 and at most {HIGHEST_RANK:,}"
        )


def _budget_kind(average_rank, parameters, share, adaptive, budget_by) -> str:
    """Return what the budget counts; refuse two budgets."""
    budgets = {"average_rank": average_rank, "parameters": parameters, "share": share}
    given = [name for name, value in budgets.items() if value is not None]
    if len(given) > 1:
        raise AdaRankError(f"{given[0]} and {given[1]} are both given; give one budget")
    if budget_by not in (None, "rank", "parameters"):
        raise AdaRankError(f"budget_by is {budget_by!r}; it must be 'rank' or 'parameters'")
    if adaptive:
        given += ["budget_by"] if budget_by is not None else []
        if given:
            raise AdaRankError(
                f"adaptive conflicts with {given[0]}: adaptive ranks have no budget; give one of "
                "the two"
            )
        return "rank"
    if budget_by == "rank" and (parameters is not None or share is not None):
        raise AdaRankError(
            f"{given[0]} conflicts with budget_by 'rank': it is a number of LoRA parameters; use "
            "budget_by 'parameters'"
        )
    if average_rank is not None:
        check_average_rank(average_rank)
    if parameters is not None and not 1 <= parameters <= 10**18:
        raise AdaRankError(
            f"parameters is {parameters}; it must be at least 1 and not above {10**18:,}"
        )
    if share is not None and not 0 < share <= HIGHEST_RANK:
        raise AdaRankError(f"share is {share}; it must be above 0, such as 0.01 for one percent")
    if parameters is None and share is None:
        return budget_by or "rank"
    return "parameters"


def _check_options(group_by, min_rank, max_rank, temperature, rounding, adaptive) -> None:
    choices = {
        "group_by": (group_by, ("none", "family")),
        "rounding": (rounding, ("largest-remainder", "floor")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise AdaRankError(f"{name} is {value!r}; it must be {allowed[0]!r} or {allowed[1]!r}")
    if adaptive and rounding == "floor":
        raise AdaRankError(
            "adaptive conflicts with rounding 'floor': adaptive ranks are rounded to the nearest"
        )
    if type(min_rank) is not int or min_rank < 0:
        raise AdaRankError(f"min_rank is {min_rank!r}; it must be a whole number of 0 or more")
    if max_rank is not None and (type(max_rank) is not int or max_rank < 1):
        raise AdaRankError(f"max_rank is {max_rank!r}; it must be a whole number of 1 or more")
    if max_rank is not None and max_rank < min_rank:
        raise AdaRankError(f"max_rank is {max_rank}, which conflicts with min_rank {min_rank}")
    if not 0 <= temperature < math.inf:
        raise AdaRankError(f"temperature is {temperature}; it must be 0 (uniform) or more")


def _bounds(scores, min_rank, max_rank, pinned, excluded):
    """Return the smallest and largest rank of every module, and which of them are fixed."""
    places = {module.name: at for at, module in enumerate(scores.modules)}
    for what, names in (("pinned", pinned), ("excluded", excluded)):
        for name in names:
            if name not in places:
                raise AdaRankError(
                    f"{what} names {name!r}, which is none of the {len(places)} scored modules"
                )
    caps = [min(module.in_features, module.out_features) for module in scores.modules]
    fixed = {places[name]: 0 for name in excluded}
    for name, rank in pinned.items():
        at = places[name]
        if type(rank) is not int or not 0 <= rank <= caps[at]:
            raise AdaRankError(
                f"the pinned rank of {name!r} is {rank!r}; it must be a whole number of 0 to "
                f"{caps[at]}, the module's smaller side"
            )
        if at in fixed and rank > 0:
            raise AdaRankError(f"{name!r} is both pinned to {rank} and excluded; give one of them")
        fixed[at] = rank
    for at, module in enumerate(scores.modules):
        if at not in fixed and caps[at] < min_rank:
            raise AdaRankError(
                f"min_rank is {min_rank}, above the largest rank of {module.name!r}, which is "
                f"{caps[at]} by its size"
            )
    lowest = [fixed.get(at, min_rank) for at in range(len(caps))]
    if max_rank is not None:
        caps = [min(cap, max_rank) for cap in caps]
    caps = [fixed.get(at, cap) for at, cap in enumerate(caps)]
    return lowest, caps, fixed


def _check_feasible(asked: Constraints, group, fixed, sides, min_rank, max_rank) -> None:
    """Refuse a budget that the bounds cannot meet, naming the wish that it conflicts with."""
    positions, costs, budget = asked.groups[group], asked.costs, asked.budgets[group]
    unit = "LoRA parameters" if asked.budget_by == "parameters" else "ranks"
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
