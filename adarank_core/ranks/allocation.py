"""Algorithm 3 of the paper: turn scores into one LoRA rank a module, within a budget."""

from adarank_core.errors import AdaRankError
from adarank_core.ranks.constraints import check_modules, constraints
from adarank_core.ranks.costs import lora_parameters
from adarank_core.ranks.options import Bounds, Budget, Rule, check_average_rank, largest_rank
from adarank_core.ranks.plans import RankPlan, alphas
from adarank_core.scoring.scores import Scores

__all__ = ["RankPlan", "allocate", "check_average_rank", "lora_parameters", "uniform_plan"]

# What a plan's budget tells where it was asked for.
NOTED = ("group_by", "min_rank", "max_rank", "share", "pinned", "excluded", "temperature")


def allocate(scores: Scores, average_rank: float | None = None, **options) -> RankPlan:
    """Give each module a rank proportional to its score, within a budget (paper, Algorithm 3).

    Parameters
    ----------
    scores : Scores
        Their order does not matter: of equal remainders the higher score's goes first, then the
        earlier name's.
    average_rank : float, optional
        8 where no budget is given.
    **options
        By name, what the three classes of `adarank_core.ranks.options` hold and explain.
        `Budget`: ``parameters``, ``share``, ``adaptive``, ``budget_by``, ``group_by``. `Bounds`:
        ``min_rank``, ``max_rank``, ``pinned``, ``excluded``. `Rule`: ``temperature``,
        ``rounding``, ``alpha_policy``.

    Returns
    -------
    RankPlan

    Raises
    ------
    AdaRankError
        If an option is not valid, or two wishes cannot be met together.
    TypeError
        If an option is not known.

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
    asked = constraints(scores, average_rank, **options)
    values = [float(module.score) for module in scores.modules]
    ranks = asked.ranks(values)
    if not any(ranks):
        raise AdaRankError("no module would have a rank above 0; pin or exclude fewer modules")
    noted = {
        name: list(value) if isinstance(value, tuple) else value
        for part, default in (
            (asked.budget, Budget()),
            (asked.bounds, Bounds()),
            (asked.rule, Rule()),
        )
        for name, value in vars(part).items()
        if name in NOTED and value != getattr(default, name)
    }
    if asked.budget.adaptive:
        noted["units"] = asked.units(values)
    return _build_plan(
        scores,
        dict(zip(asked.names, ranks, strict=True)),
        {
            "by": asked.budget.by,
            "requested": sum(ranks) if asked.budget.adaptive else sum(asked.budgets.values()),
            "rounding": asked.rule.rounding,
            "alpha_policy": asked.rule.alpha_policy,
            **noted,
        },
        from_scores=True,
    )


def uniform_plan(scores: Scores, rank: int) -> RankPlan:
    """Give every module the same rank; only names and sizes of ``scores`` are used.

    A module whose smaller side is below the rank, such as a gate with one output, gets that; the
    budget's ``residual`` is what all of them are short of.

    Raises
    ------
    AdaRankError
        If the rank is below 1 or above the size of every module.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> uniform_plan(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), 8).ranks
    {'query': 8}
    """
    if type(rank) is not int or rank < 1:
        raise AdaRankError(f"the uniform rank is {rank!r}; it must be a whole number of at least 1")
    check_modules(scores)
    largest = max(scores.modules, key=largest_rank)
    if rank > largest_rank(largest):
        raise AdaRankError(
            f"the uniform rank is {rank}, above the size of {largest.name!r}; it may be "
            f"{largest_rank(largest)} at most"
        )
    ranks = {module.name: min(rank, largest_rank(module)) for module in scores.modules}
    budget = {"by": "rank", "requested": rank * len(ranks), "rounding": "none"}
    return _build_plan(scores, ranks, {**budget, "alpha_policy": "proportional"})


def _build_plan(
    scores: Scores, ranks: dict[str, int], budget: dict, from_scores: bool = False
) -> RankPlan:
    """Return the plan of these ranks, its budget completed with what they cost."""
    used = lora_parameters(scores, ranks)
    spent = used if budget["by"] == "parameters" else sum(ranks.values())
    budget = {
        "by": budget["by"],
        "requested": budget["requested"],
        "spent": spent,
        "residual": budget["requested"] - spent,
        "average_rank": sum(ranks.values()) / len(ranks),
        "lora_parameters": used,
        **budget,
    }
    alpha = alphas(ranks, budget["alpha_policy"])
    origin = {"task_type": scores.task_type}
    if from_scores:
        origin |= {"scores_sha256": scores.sha256, "seed": scores.seed, "trials": scores.trials}
        origin |= {"mode": scores.mode, "texts": dict(scores.texts)}
    return RankPlan(scores.model, ranks, alpha, budget, **origin)
