"""Split a budget over modules: first in fractions of a rank, then in whole ranks."""

import math
from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["apportion", "proportional", "round_down", "rounded", "spend_rest"]


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number in proportion to whole weights, by largest remainder.

    In whole numbers throughout, so that nothing is lost however large they are.

    Parameters
    ----------
    total : int
        0 or more.
    weights : sequence of int
        Above 0.

    Returns
    -------
    list of int
        Their sum is ``total``; of equal remainders the first is rounded up.

    Examples
    --------
    >>> apportion(10, [4, 3])
    [6, 4]
    """
    everything = sum(weights)
    parts = [total * weight // everything for weight in weights]
    order = sorted(range(len(weights)), key=lambda at: -(total * weights[at] % everything))
    for at in order[: total - sum(parts)]:
        parts[at] += 1
    return parts


def proportional(
    wanted: Sequence[float],
    costs: Sequence[int],
    budget: int,
    lowest: Sequence[int],
    caps: Sequence[int],
) -> list[float]:
    """Solve ``sum of cost * clip(scale * wanted, lowest, cap) = budget`` for the scale.

    The left side grows with the scale and bends only where a module meets a bound, so a search
    over those bends finds the straight piece that holds the solution. Modules that want nothing
    share what the others cannot take; where none wants anything, all want the same.

    Parameters
    ----------
    wanted : sequence of float
        Weights of 0 or more, in any unit.
    costs : sequence of int
        Price of one rank of each module.
    budget : int
        Between what the lowest ranks cost and what the caps cost.
    lowest, caps : sequence of int
        Bounds of each module's share.

    Returns
    -------
    list of float

    Examples
    --------
    >>> proportional([1, 2, 8], [1, 1, 1], 12, [1, 1, 1], [6, 6, 6])
    [2.0, 4.0, 6.0]
    """
    if not any(wanted):
        wanted = [1.0] * len(costs)
    modules = list(zip(wanted, costs, lowest, caps, strict=True))

    def excess(scale):
        # What meets a bound is counted in whole numbers, which lose nothing beside large ones.
        whole, part = -budget, 0.0
        for want, cost, low, cap in modules:
            share = scale * want
            if low < share < cap:
                part += cost * share
            else:
                whole += cost * (low if share <= low else cap)
        return whole + part

    bends = {bound / want for want, _, *bounds in modules if want > 0 for bound in bounds}
    bends = [0.0, *sorted(bends - {0.0})]
    at = bisect_left(bends, 0, key=excess)
    if at == len(bends):
        return _shared_rest(modules, budget)
    # Between two bends the slope is summed anew: a running sum would lose weights far below others.
    start, end = bends[max(at - 1, 0)], bends[at]
    fixed, slope = 0, 0.0
    for want, cost, low, cap in modules:
        if want == 0 or low / want >= end:
            fixed += cost * low
        elif cap / want <= start:
            fixed += cost * cap
        else:
            slope += cost * want
    scale = (budget - fixed) / slope if slope > 0 else end
    return [float(min(max(scale * want, low), cap)) for want, _, low, cap in modules]


def _shared_rest(modules: list[tuple], budget: int) -> list[float]:
    """Fill every module that wants something; those that want nothing share what is left."""
    shares = [cap if want > 0 else low for want, _, low, cap in modules]
    free = [at for at, (want, _, low, cap) in enumerate(modules) if want == 0 and low < cap]
    left = budget - sum(entry[1] * share for entry, share in zip(modules, shares, strict=True))
    if free and left > 0:
        _, costs, lowest, caps = zip(*(modules[at] for at in free), strict=True)
        least = sum(cost * low for cost, low in zip(costs, lowest, strict=True))
        rest = proportional([1.0] * len(free), costs, left + least, lowest, caps)
        for at, share in zip(free, rest, strict=True):
            shares[at] = share
    return [float(share) for share in shares]


def round_down(
    shares: Sequence[float], costs: Sequence[int], budget: int, lowest: Sequence[int]
) -> list[int]:
    """Round shares down to whole ranks that cost no more than the budget.

    A share that lies below a whole number by no more than what floating point loses is that
    number. Where this costs more than the budget (a large module's share loses more parameters
    than one), the shares that gained most by it are lowered.

    Parameters
    ----------
    shares : sequence of float
    costs : sequence of int
        Price of one rank of each module.
    budget : int
        What the lowest ranks cost, or more.
    lowest : sequence of int
        Smallest rank of each module.

    Returns
    -------
    list of int

    Examples
    --------
    >>> round_down([3 - 1e-12, 2.5], [1, 1], 5, [0, 0])
    [3, 2]
    >>> round_down([3 - 1e-10, 1.5], [10**12, 10], 3 * 10**12 - 85, [0, 0])
    [2, 1]
    """
    ranks = [math.floor(share + 1e-9) for share in shares]
    over = sum(cost * rank for cost, rank in zip(costs, ranks, strict=True)) - budget
    if over <= 0:
        return ranks
    for at in sorted(range(len(ranks)), key=lambda at: shares[at] - ranks[at]):
        steps = min(ranks[at] - lowest[at], -(-max(over, 0) // costs[at]))
        ranks[at] -= steps
        over -= steps * costs[at]
    return ranks


def rounded(
    shares: Sequence[float],
    costs: Sequence[int],
    budget: int,
    lowest: Sequence[int],
    caps: Sequence[int],
    tries: int = 60_000,
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
        What the lowest ranks cost, or more.
    lowest, caps : sequence of int
        Smallest and largest rank of each module.
    tries : int
        How many ways to choose those counts are looked at. With up to three unlike costs the
        default sees all that lie within 12 of plain largest remainders, with more it sees less
        far; what is left over buys no step of any module in any case.

    Returns
    -------
    list of int

    Examples
    --------
    >>> rounded([1.5, 2.3, 4.2], [1, 1, 1], 8, [0, 0, 0], [9, 9, 9])
    [2, 2, 4]
    >>> rounded([1.4, 2.4, 1.9], [2, 2, 5], 17, [0, 0, 0], [9, 9, 9])
    [1, 2, 2]
    """
    ranks = round_down(shares, costs, budget, lowest)
    left = budget - sum(cost * rank for cost, rank in zip(costs, ranks, strict=True))
    by_cost = {}
    for at, (share, cost) in enumerate(zip(shares, costs, strict=True)):
        if ranks[at] < caps[at]:
            # Cut to nine digits, so that equal remainders stay equal in every unit of the scores.
            by_cost.setdefault(cost, []).append((-round(share - ranks[at], 9), at))
    by_cost = {cost: sorted(entries) for cost, entries in sorted(by_cost.items())}
    for cost, count in _counts(by_cost, left, tries).items():
        for _, at in by_cost[cost][:count]:
            ranks[at] += 1
            left -= cost
    # Only where few modules differ much in size can a whole step be left. Of one size the largest
    # share is first, so that none overtakes another.
    if left >= min(costs, default=1):
        order = sorted(range(len(ranks)), key=lambda at: (costs[at], -round(shares[at], 9), at))
        spend_rest(ranks, costs, caps, left, order)
    return ranks


def spend_rest(
    ranks: list[int], costs: Sequence[int], caps: Sequence[int], rest: int, order: Sequence[int]
) -> None:
    """Raise ranks by one, in this order and again from its start, while the rest buys a step.

    Examples
    --------
    >>> ranks = [1, 1, 1]
    >>> spend_rest(ranks, costs=[2, 2, 3], caps=[9, 9, 9], rest=8, order=[0, 1, 2])
    >>> ranks
    [2, 2, 2]
    """
    while able := [at for at in order if ranks[at] < caps[at] and costs[at] <= rest]:
        # As many whole rounds at once as all of them can take; then one that not all can.
        room = min(caps[at] - ranks[at] for at in able)
        rounds = max(1, min(room, rest // sum(costs[at] for at in able)))
        for at in able:
            if rounds * costs[at] <= rest:
                ranks[at] += rounds
                rest -= rounds * costs[at]


def _counts(by_cost: dict[int, list[tuple[float, int]]], left: int, tries: int) -> dict[int, int]:
    """Choose how many modules of each cost are rounded up; see `rounded`."""
    # Plain largest remainder gives a first answer; the best one lies close to it.
    start, spare = dict.fromkeys(by_cost, 0), left
    everything = sorted((*entry, cost) for cost, entries in by_cost.items() for entry in entries)
    for *_, cost in everything:
        if cost <= spare:
            start[cost] += 1
            spare -= cost
    reach, ways = 12, math.inf
    while ways > tries and reach > 0:
        bounds = {
            cost: (max(0, start[cost] - reach), min(len(entries), start[cost] + reach))
            for cost, entries in by_cost.items()
        }
        ways, reach = math.prod(high - low + 1 for low, high in bounds.values()), reach - 1
    if ways > tries:  # so many costs that one step each way is too far
        bounds = {cost: (count, count) for cost, count in start.items()}
    states = {left: (0.0, {})}
    for cost, entries in by_cost.items():
        low, high = bounds[cost]
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
