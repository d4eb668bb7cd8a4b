"""What is asked of the ranks of one model's modules, and the ranks that meet it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from adarank_core.errors import AdaRankError
from adarank_core.ranks.options import Bounds, Budget, Rule, finite_number, largest_rank
from adarank_core.ranks.rounding import apportion, proportional, round_down, rounded, spend_rest
from adarank_core.scoring.scores import Scores

__all__ = ["Constraints", "check_modules", "constraints"]

FAINT = 1e-200  # a weight this far below the largest counts as none: no rank could tell
LARGEST_SIZE = 10**12  # of a module's side, in features


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
            if not finite_number(getattr(module, what)) >= 0:
                raise AdaRankError(
                    f"the {what.replace('_', ' ')} of {module.name!r} is "
                    f"{getattr(module, what)!r}; it must be finite and 0 or more"
                )


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
