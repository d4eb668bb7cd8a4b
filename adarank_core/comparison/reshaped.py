"""Plans made of other plans, for arms that control for a part of what a plan does."""

import random
from dataclasses import replace

from adarank_core.ranks.plans import RankPlan
from adarank_core.scoring.scores import Scores

__all__ = ["permuted", "scale_only"]


def permuted(plan: RankPlan, scores: Scores, seed: int) -> RankPlan:
    """Shuffle a plan's ranks among modules of equal size: the same parameters, other owners.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = [ModuleScore(f"{n}.query", n, "query", 8, 8, 1.0, 0.0) for n in range(3)]
    >>> scores = Scores("tiny", "none", "none", 1.0, 0, {}, tuple(query))
    >>> plan = RankPlan("tiny", {"0.query": 1, "1.query": 2, "2.query": 3}, {
    ...     "0.query": 2, "1.query": 4, "2.query": 6})
    >>> permuted(plan, scores, seed=0).ranks
    {'0.query': 3, '1.query': 2, '2.query': 1}
    """
    groups = {}
    for module in scores.modules:
        groups.setdefault((module.in_features, module.out_features), []).append(module.name)
    source = {}
    shuffle = random.Random(f"permuted/{seed}")
    for names in groups.values():
        source.update(zip(names, shuffle.sample(names, len(names)), strict=True))
    return RankPlan(
        plan.model,
        {name: plan.ranks[source[name]] for name in plan.ranks},
        {name: plan.alpha[source[name]] for name in plan.ranks},
        plan.budget,
        plan.scores_sha256,
        plan.task_type,
    )


def scale_only(plan: RankPlan, uniform: RankPlan) -> RankPlan:
    """Give uniform ranks the step sizes of a plan: its alpha without its ranks.

    LoRA's ``B`` moves by as much a step in every entry (Adam), and ``B A`` of rank ``r`` is a sum
    of ``r`` such terms: a module moves as far as its scaling times its rank. That product is the
    plan's here. With ``alpha / rank`` the same for all modules (``"proportional"``) this gives the
    uniform ranks the plan's own alpha. With one alpha for all (``"constant"``) the steps are the
    same everywhere, and nothing is left of the plan.

    Parameters
    ----------
    plan : RankPlan
    uniform : RankPlan
        Of the same modules and alpha policy.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"query": 1, "key": 3}, {"query": 2, "key": 6})
    >>> same = RankPlan("tiny", {"query": 2, "key": 2}, {"query": 4, "key": 4})
    >>> scale_only(plan, same).alpha, scale_only(plan, same).scaling
    ({'query': 2.0, 'key': 6.0}, {'query': 1.0, 'key': 3.0})
    """
    alpha = {}
    for name, rank in uniform.ranks.items():
        steps = plan.scaling.get(name, 0.0) * plan.ranks[name]
        # What alpha is divided by to be LoRA's scaling: the rank, or its root.
        divisor = uniform.alpha[name] / uniform.scaling[name] if rank else 1
        alpha[name] = steps * divisor / rank if rank else 0
    return replace(uniform, alpha=alpha, scores_sha256=plan.scores_sha256)
