"""Algorithm 3 of the paper: turn scores into one LoRA rank a module, within a budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from adarank_core.errors import AdaRankError
from adarank_core.scores import Scores, check_format, check_keys

__all__ = ["RankPlan", "allocate", "lora_parameters", "rounded", "uniform_plan"]

FORMAT = "adarank-ranks/1"
# LoRA adds alpha / r times B A. One alpha for all would scale modules of high rank down, so alpha
# is proportional to the rank and every module has the same scaling.
ALPHA_OVER_RANK = 2
HIGHEST_RANK = 1_000_000  # no module is so large, and no number below overflows


@dataclass(frozen=True)
class RankPlan:
    """One LoRA rank a module, and how it came about.

    Parameters
    ----------
    model : str
        The model's name, as given to `load_model`.
    ranks : dict of str to int
        By the module's full name; a module of rank 0 is not adapted.
    alpha : dict of str to int
        LoRA's alpha by the module's full name, twice the rank.
    budget : dict
        ``by`` (``"rank"`` or ``"parameters"``), ``requested``, ``spent`` and ``residual`` in that
        unit, ``average_rank`` and ``lora_parameters`` as they came out, and ``rounding``.
    scores_sha256 : str
        Digest of the scores that the ranks come from; empty for uniform ranks.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"query": 4}, {"query": 8}, {}, "")
    >>> RankPlan.from_dict(plan.to_dict()) == plan
    True
    """

    model: str
    ranks: dict[str, int]
    alpha: dict[str, int]
    budget: dict = field(default_factory=dict)
    scores_sha256: str = ""

    def to_dict(self) -> dict:
        """Return the ``adarank-ranks/1`` dictionary."""
        return {
            "format": FORMAT,
            "model": self.model,
            "ranks": dict(self.ranks),
            "alpha": dict(self.alpha),
            "budget": dict(self.budget),
            "scores_sha256": self.scores_sha256,
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
        for key in ("model", "scores_sha256"):
            if not isinstance(data[key], str):
                raise AdaRankError(f"{key!r} of the ranks is {data[key]!r}; it must be a string")
        for key in ("ranks", "alpha", "budget"):
            if not isinstance(data[key], dict):
                raise AdaRankError(f"{key!r} of the ranks is {data[key]!r}; it must be an object")
        for name, rank in data["ranks"].items():
            if type(rank) is not int or rank < 0:
                raise AdaRankError(
                    f"the rank of {name!r} is {rank!r}; it must be a whole number of 0 or more"
                )
            alpha = data["alpha"].get(name)
            if type(alpha) not in (int, float) or not 0 <= alpha < math.inf:
                raise AdaRankError(f"the alpha of {name!r} is {alpha!r}; it must be 0 or more")
        if not any(data["ranks"].values()):
            raise AdaRankError("the ranks are all 0 or missing; at least one must be above 0")
        return cls(**{key: data[key] for key in keys})

    def lora_config(self, task_type: str = "SEQ_CLS"):
        """Return the plan as a ``peft.LoraConfig``; see `adarank_core.export.lora_config`.

        Examples
        --------
        >>> plan = RankPlan("tiny", {"query": 4}, {"query": 8}, {}, "")
        >>> plan.lora_config(task_type="SEQ_CLS").rank_pattern
        {'query': 4}
        """
        from adarank_core.export import lora_config

        return lora_config(self, task_type)


def allocate(
    scores: Scores,
    average_rank: float | None = None,
    *,
    parameters: int | None = None,
    budget_by: str | None = None,
    group_by: str = "none",
    min_rank: int = 1,
    max_rank: int | None = None,
    rounding: str = "largest-remainder",
) -> RankPlan:
    """Give each module a rank proportional to its score, within a budget (paper, Algorithm 3).

    Parameters
    ----------
    scores : Scores
        Their order does not matter: of equal remainders the higher score's goes first, then the
        earlier name's.
    average_rank : float, optional
        8 where neither this nor ``parameters`` is given. The budget is what uniform ranks of this
        average would cost.
    parameters : int, optional
        The budget as a number of LoRA parameters, ``sum of rank * (in + out)``.
    budget_by : {"rank", "parameters"}, optional
        What is kept equal to the uniform plan: the sum of ranks (default with ``average_rank``)
        or the number of LoRA parameters (default, and the only choice, with ``parameters``).
    group_by : {"none", "family"}
        ``"family"`` gives every family of modules its own share of the budget, as the published
        code does.
    min_rank : int
        0 lets a module go without.
    max_rank : int, optional
        Never above a module's smaller side in any case.
    rounding : {"largest-remainder", "floor"}
        Largest remainder spends the budget to the last unit where the modules' sizes allow it.
        ``"floor"`` is the published code: it loses budget, and is kept for its figures.

    Returns
    -------
    RankPlan

    Raises
    ------
    AdaRankError
        If an option is not valid, or the budget cannot be met within the bounds.

    Examples
    --------
    >>> from adarank_core.scores import ModuleScore
    >>> modules = [ModuleScore(n, 0, n, 64, 64, s, 0.0) for n, s in (("query", 1.0), ("key", 3.0))]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> allocate(scores, average_rank=8).ranks
    {'query': 4, 'key': 12}
    """
    budget_by = budget_by or ("rank" if parameters is None else "parameters")
    _check_options(average_rank, parameters, budget_by, group_by, min_rank, max_rank, rounding)
    if average_rank is None and parameters is None:
        average_rank = 8
    groups = {}
    for module in sorted(scores.modules, key=lambda module: (-module.score, module.name)):
        groups.setdefault(module.family if group_by == "family" else "all", []).append(module)
    everything = sum(module.in_features + module.out_features for module in scores.modules)
    ranks, requested = {}, 0
    for name, modules in groups.items():
        sizes = [module.in_features + module.out_features for module in modules]
        costs = sizes if budget_by == "parameters" else [1] * len(modules)
        if parameters is None:
            budget = round(average_rank * sum(costs))
        else:
            budget = round(parameters * sum(sizes) / everything)
        caps = [min(module.in_features, module.out_features) for module in modules]
        if max_rank is not None:
            caps = [min(cap, max_rank) for cap in caps]
        _check_feasible(budget, costs, caps, min_rank, budget_by, name)
        wanted = [module.score for module in modules]
        shares = _proportional(wanted, costs, budget, min_rank, caps)
        if rounding == "floor":
            # As published: floor of the plain proportion; the bounds are applied afterwards.
            total = sum(score * cost for score, cost in zip(wanted, costs, strict=True)) or 1.0
            plain = [math.floor(score * budget / total) for score in wanted]
            whole = [min(max(rank, min_rank), cap) for rank, cap in zip(plain, caps, strict=True)]
        else:
            whole = rounded(shares, costs, budget, caps)
        ranks.update({module.name: rank for module, rank in zip(modules, whole, strict=True)})
        requested += budget
    in_order = {module.name: ranks[module.name] for module in scores.modules}
    return _plan(scores, in_order, budget_by, requested, rounding, scores.sha256)


def uniform_plan(scores: Scores, rank: int) -> RankPlan:
    """Give every module the same rank; only names and sizes of ``scores`` are used.

    Raises
    ------
    AdaRankError
        If the rank is below 1 or above a module's smaller side.

    Examples
    --------
    >>> from adarank_core.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> uniform_plan(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), 8).ranks
    {'query': 8}
    """
    if type(rank) is not int or rank < 1:
        raise AdaRankError(f"the uniform rank is {rank!r}; it must be a whole number of at least 1")
    smallest = min(scores.modules, key=lambda module: min(module.in_features, module.out_features))
    cap = min(smallest.in_features, smallest.out_features)
    if rank > cap:
        raise AdaRankError(
            f"the uniform rank is {rank}, above the size of {smallest.name!r}; it may be {cap} "
            "at most"
        )
    ranks = {module.name: rank for module in scores.modules}
    return _plan(scores, ranks, "rank", rank * len(ranks), "none", "")


def lora_parameters(scores: Scores, ranks: dict[str, int]) -> int:
    """Count LoRA's parameters: the sum over modules of ``rank * (in_features + out_features)``.

    Examples
    --------
    >>> from adarank_core.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> lora_parameters(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), {"query": 8})
    1024
    """
    return sum(
        ranks.get(module.name, 0) * (module.in_features + module.out_features)
        for module in scores.modules
    )


def _plan(scores, ranks, budget_by, requested, rounding, sha256) -> RankPlan:
    used = lora_parameters(scores, ranks)
    spent = used if budget_by == "parameters" else sum(ranks.values())
    budget = {
        "by": budget_by,
        "requested": requested,
        "spent": spent,
        "residual": requested - spent,
        "average_rank": sum(ranks.values()) / len(ranks),
        "lora_parameters": used,
        "rounding": rounding,
    }
    alpha = {name: ALPHA_OVER_RANK * rank for name, rank in ranks.items()}
    return RankPlan(scores.model, ranks, alpha, budget, sha256)


def check_average_rank(average_rank: float) -> None:
    """Raise `AdaRankError` unless some module could have such a rank."""
    if not 0 < average_rank <= HIGHEST_RANK:
        raise AdaRankError(
            f"average_rank is {average_rank}; it must be above 0 and at most {HIGHEST_RANK:,}"
        )


def _check_options(average_rank, parameters, budget_by, group_by, min_rank, max_rank, rounding):
    choices = {
        "budget_by": (budget_by, ("rank", "parameters")),
        "group_by": (group_by, ("none", "family")),
        "rounding": (rounding, ("largest-remainder", "floor")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise AdaRankError(f"{name} is {value!r}; it must be {allowed[0]!r} or {allowed[1]!r}")
    if average_rank is not None and parameters is not None:
        raise AdaRankError("average_rank and parameters are both given; give one budget")
    if parameters is not None and budget_by == "rank":
        raise AdaRankError("parameters is given with budget_by 'rank'; use budget_by 'parameters'")
    if average_rank is not None:
        check_average_rank(average_rank)
    if parameters is not None and parameters < 1:
        raise AdaRankError(f"parameters is {parameters}; the budget must be at least 1")
    if min_rank < 0:
        raise AdaRankError(f"min_rank is {min_rank}; it must be 0 or more")
    if max_rank is not None and max_rank < max(min_rank, 1):
        raise AdaRankError(
            f"max_rank is {max_rank}; it must be at least {max(min_rank, 1)}, as min_rank is "
            f"{min_rank}"
        )


def _check_feasible(budget, costs, caps, min_rank, budget_by, group) -> None:
    least = sum(costs) * min_rank
    most = sum(cost * cap for cost, cap in zip(costs, caps, strict=True))
    unit = "LoRA parameters" if budget_by == "parameters" else "ranks"
    where = "" if group == "all" else f" for the family {group!r}"
    small = min(caps)
    if small < min_rank:
        raise AdaRankError(f"min_rank is {min_rank}, above a module's largest rank of {small}")
    if budget < max(least, 1):
        raise AdaRankError(
            f"the budget of {budget:,} {unit}{where} is below {max(least, 1):,}, which "
            f"{len(costs)} modules of rank {min_rank} need; raise it or lower min_rank"
        )
    if budget > most:
        raise AdaRankError(
            f"the budget of {budget:,} {unit}{where} (average rank {budget / sum(costs):g}) is "
            f"above {most:,}, the most that {len(costs)} modules of rank up to {max(caps)} can "
            "take; lower it"
        )


def _proportional(wanted, costs, budget, lowest, caps) -> list[float]:
    """Solve ``sum of cost * clip(scale * wanted, lowest, cap) = budget`` for the scale.

    The left side grows with the scale and bends only where a module meets a bound, so sorting the
    bounds finds the straight piece that holds the solution. Modules without any score share what
    the others cannot take.
    """
    if not any(wanted):
        wanted = [1.0] * len(costs)
    bends = []
    for score, cost, cap in zip(wanted, costs, caps, strict=True):
        if score > 0:
            bends += [(lowest / score, score * cost), (cap / score, -score * cost)]
    spent, slope, scale = float(sum(costs) * lowest), 0.0, 0.0
    for bend, change in sorted(bends):
        if spent + slope * (bend - scale) >= budget:
            break
        spent, slope, scale = spent + slope * (bend - scale), slope + change, bend
    else:
        # Every module that has a score is at its cap.
        free = [at for at, score in enumerate(wanted) if score == 0]
        shares = [
            float(cap) if score > 0 else float(lowest)
            for score, cap in zip(wanted, caps, strict=True)
        ]
        left = budget - sum(cost * share for cost, share in zip(costs, shares, strict=True))
        if free and left > 0:
            rest = _proportional(
                [1.0] * len(free),
                [costs[at] for at in free],
                left + sum(costs[at] for at in free) * lowest,
                lowest,
                [caps[at] for at in free],
            )
            for at, share in zip(free, rest, strict=True):
                shares[at] = share
        return shares
    if slope > 0:
        scale += (budget - spent) / slope
    return [
        min(max(scale * score, float(lowest)), float(cap))
        for score, cap in zip(wanted, caps, strict=True)
    ]


def rounded(
    shares: Sequence[float], costs: Sequence[int], budget: int, caps: Sequence[int]
) -> list[int]:
    """Round shares to whole ranks that cost the budget, by largest remainder.

    Every rank is its share rounded down or up, or a step further where a whole step would be left.
    Where all modules cost the same this is the largest remainder method. Where they differ,
    modules of equal cost are rounded up in the order of their remainders, and how many of each
    cost is chosen so that the budget is met as closely as it can be without going over, and then
    so that the remainders rounded up are largest.

    Parameters
    ----------
    shares : sequence of float
        What each module would get; ``sum of cost * share`` is the budget.
    costs : sequence of int
        Price of one rank of each module.
    budget : int
    caps : sequence of int
        Largest rank of each module.

    Returns
    -------
    list of int

    Examples
    --------
    >>> rounded([1.5, 2.3, 4.2], [1, 1, 1], 8, [9, 9, 9])
    [2, 2, 4]
    >>> rounded([1.4, 2.4, 1.9], [2, 2, 5], 17, [9, 9, 9])
    [1, 2, 2]
    """
    near = [round(share) if abs(share - round(share)) < 1e-9 else share for share in shares]
    ranks = [math.floor(share) for share in near]
    left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
    by_cost = {}
    for at, (share, cost) in enumerate(zip(near, costs, strict=True)):
        if ranks[at] < caps[at]:
            # Cut to nine digits, so that equal remainders stay equal in every unit of the scores.
            by_cost.setdefault(cost, []).append((-round(share - ranks[at], 9), at))
    by_cost = {cost: sorted(entries) for cost, entries in sorted(by_cost.items())}
    for cost, count in _counts(by_cost, left).items():
        for _, at in by_cost[cost][:count]:
            ranks[at] += 1
            left -= cost
    # Only where few modules differ much in size can a whole step be left: the cheapest take it,
    # the largest share first, so that of two modules of one size none overtakes the other.
    for cost, entries in by_cost.items():
        for _, at in sorted(entries, key=lambda entry: (-near[entry[1]], entry[1])):
            if cost <= left and ranks[at] < caps[at]:
                ranks[at] += 1
                left -= cost
    return ranks


def _counts(by_cost: dict[int, list[tuple[float, int]]], left: int) -> dict[int, int]:
    """Choose how many modules of each cost are rounded up; see `rounded`."""
    # Plain largest remainder gives a first answer; the best one lies close to it.
    start, spare = dict.fromkeys(by_cost, 0), left
    everything = sorted((*entry, cost) for cost, entries in by_cost.items() for entry in entries)
    for *_, cost in everything:
        if cost <= spare:
            start[cost] += 1
            spare -= cost
    reach = 12 if len(by_cost) <= 4 else 4
    states = {left: (0.0, {})}
    for cost, entries in by_cost.items():
        low = max(0, start[cost] - reach)
        high = min(len(entries), start[cost] + reach)
        value = [0.0]
        for remainder, _ in entries[:high]:
            value.append(value[-1] - remainder)
        reached = {}
        for spare, (gained, counts) in states.items():
            for count in range(low, high + 1):
                after = spare - count * cost
                total = gained + value[count]
                if after not in reached or total > reached[after][0] + 1e-12:
                    reached[after] = (total, {**counts, cost: count})
        states = reached
    best = min(spare for spare in states if spare >= 0)
    return states[best][1]
