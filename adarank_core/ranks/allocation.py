"""Algorithm 3 of the paper: turn scores into one LoRA rank a module, within a budget."""

from collections.abc import Collection, Mapping

from adarank_core.errors import AdaRankError
from adarank_core.ranks.constraints import check_average_rank, constraints
from adarank_core.ranks.plans import RankPlan, alphas
from adarank_core.scoring.scores import Scores

__all__ = ["RankPlan", "allocate", "check_average_rank", "lora_parameters", "uniform_plan"]


def allocate(
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
    alpha_policy: str = "proportional",
) -> RankPlan:
    """Give each module a rank proportional to its score, within a budget (paper, Algorithm 3).

    Parameters
    ----------
    scores : Scores
        Their order does not matter: of equal remainders the higher score's goes first, then the
        earlier name's.
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
    min_rank : int
        0 lets a module go without.
    max_rank : int, optional
        Never above a module's smaller side in any case.
    pinned : mapping of str to int, optional
        Ranks by module that are taken as they are, whatever ``min_rank`` and ``max_rank`` say.
        They count in the budget; the other modules share the rest.
    excluded : collection of str
        Modules that get rank 0. The budget stays, and goes to the others.
    temperature : float
        The power to which scores are raised: 0 is uniform, 1 the paper.
    rounding : {"largest-remainder", "floor"}
        Largest remainder spends the budget to the last unit where the modules' sizes allow it.
        ``"floor"`` is the published code: it loses budget, and is kept for its figures. Shares
        are rounded down after they are fitted between the bounds, so it never overspends.
    alpha_policy : {"proportional", "constant", "rslora"}
        See `adarank_core.ranks.plans.alphas`.

    Returns
    -------
    RankPlan

    Raises
    ------
    AdaRankError
        If an option is not valid, or two wishes cannot be met together.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore(n, 0, n, 64, 64, s, 0.0) for n, s in (("query", 1.0), ("key", 3.0))]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> allocate(scores, average_rank=8).ranks
    {'query': 4, 'key': 12}
    >>> allocate(scores, average_rank=8, pinned={"query": 6}).ranks
    {'query': 6, 'key': 10}
    >>> allocate(scores, adaptive=True).ranks
    {'query': 1, 'key': 3}
    """
    asked = constraints(
        scores,
        average_rank,
        parameters=parameters,
        share=share,
        adaptive=adaptive,
        budget_by=budget_by,
        group_by=group_by,
        min_rank=min_rank,
        max_rank=max_rank,
        pinned=pinned,
        excluded=excluded,
        temperature=temperature,
        rounding=rounding,
    )
    values = [module.score for module in scores.modules]
    ranks = asked.ranks(values)
    if not any(ranks):
        raise AdaRankError("no module would have a rank above 0; pin or exclude fewer modules")
    options = {
        "group_by": (group_by, "none"),
        "min_rank": (min_rank, 1),
        "max_rank": (max_rank, None),
        "share": (share, None),
        "pinned": (dict(sorted((pinned or {}).items())), {}),
        "excluded": (sorted(excluded), []),
        "temperature": (temperature, 1),
    }
    facts = {key: value for key, (value, default) in options.items() if value != default}
    if adaptive:
        facts["units"] = asked.units(values)
    return _plan(
        scores,
        {module.name: rank for module, rank in zip(scores.modules, ranks, strict=True)},
        asked.budget_by,
        sum(ranks) if adaptive else sum(asked.budgets.values()),
        rounding,
        alpha_policy,
        scores.sha256,
        facts,
    )


def uniform_plan(scores: Scores, rank: int) -> RankPlan:
    """Give every module the same rank; only names and sizes of ``scores`` are used.

    Raises
    ------
    AdaRankError
        If the rank is below 1 or above a module's smaller side.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
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
    return _plan(scores, ranks, "rank", rank * len(ranks), "none", "proportional", "", {})


def lora_parameters(scores: Scores, ranks: dict[str, int]) -> int:
    """Count LoRA's parameters: the sum over modules of ``rank * (in_features + out_features)``.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> lora_parameters(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), {"query": 8})
    1024
    """
    return sum(
        ranks.get(module.name, 0) * (module.in_features + module.out_features)
        for module in scores.modules
    )


def _plan(scores, ranks, budget_by, requested, rounding, alpha_policy, sha256, facts) -> RankPlan:
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
        "alpha_policy": alpha_policy,
        **facts,
    }
    return RankPlan(
        scores.model, ranks, alphas(ranks, alpha_policy), budget, sha256, scores.task_type
    )
