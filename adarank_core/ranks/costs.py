"""What ranks cost: LoRA's parameters, the file that is saved, the memory that training keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

from adarank_core.ranks.plans import RankPlan, Ranks
from adarank_core.schemas import validated
from adarank_core.scoring.scores import Scores

__all__ = ["Costs", "lora_parameters", "module_parameters", "plan_costs", "uniform_rank"]

BYTES = 4  # of a parameter in float32, as adapters are saved
TRAINED_BYTES = 3 * BYTES  # the gradient and AdamW's two moments


@dataclass(frozen=True)
class Costs:
    """What a plan costs, beside uniform ranks of the same budget; made by `plan_costs`.

    Parameters
    ----------
    weights : int
        The scored modules' own weights.
    lora_parameters : int
    uniform_rank : float
        See `uniform_rank`.
    uniform_parameters : int
        LoRA parameters at that rank, rounded.
    adapter_bytes : int
        LoRA's part of the saved file, in float32.
    padded_bytes : int
        The same where every module is padded to the largest rank, as `portable` does it.
    optimizer_bytes : int
        What training keeps beside LoRA's parameters, in float32: a gradient and AdamW's two
        moments.
    """

    weights: int
    lora_parameters: int
    uniform_rank: float
    uniform_parameters: int
    adapter_bytes: int
    padded_bytes: int
    optimizer_bytes: int

    @property
    def share(self) -> float:
        """LoRA's parameters for one weight of the scored modules."""
        return self.lora_parameters / self.weights

    @property
    def against_uniform(self) -> float:
        """How many more parameters than uniform ranks have, as a share of theirs."""
        return self.lora_parameters / self.uniform_parameters - 1


def plan_costs(scores: Scores, plan: RankPlan) -> Costs:
    """Count what a plan costs.

    Parameters
    ----------
    scores : Scores
        Names and sizes are used.
    plan : RankPlan
        As `allocate` makes it.

    Returns
    -------
    Costs

    Examples
    --------
    >>> from adarank_core.ranks.allocation import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore(n, 0, n, 64, 64, s, 0.0) for n, s in (("query", 1.0), ("key", 3.0))]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> costs = plan_costs(scores, allocate(scores, average_rank=8))
    >>> costs.lora_parameters, costs.adapter_bytes, costs.padded_bytes, costs.share
    (2048, 8192, 12288, 0.25)
    """
    used = lora_parameters(scores, plan.ranks)
    rank = uniform_rank(scores, plan)
    most = max(plan.ranks.values())
    padded = {name: most for name, own in plan.ranks.items() if own > 0}
    return Costs(
        weights=sum(module.in_features * module.out_features for module in scores.modules),
        lora_parameters=used,
        uniform_rank=rank,
        uniform_parameters=round(rank * _parameters_of_rank_one(scores)),
        adapter_bytes=used * BYTES,
        padded_bytes=lora_parameters(scores, padded) * BYTES,
        optimizer_bytes=used * TRAINED_BYTES,
    )


def uniform_rank(scores: Scores, plan: RankPlan) -> float:
    """Return the rank that every module has where a plan's budget is spread evenly.

    A fraction where the budget is no multiple; for adaptive ranks their average.

    Examples
    --------
    >>> from adarank_core.ranks.allocation import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,))
    >>> uniform_rank(scores, allocate(scores, parameters=1024))
    8.0
    """
    by_parameters = plan.budget["by"] == "parameters"
    even = _parameters_of_rank_one(scores) if by_parameters else len(scores.modules)
    return plan.budget["requested"] / even


def lora_parameters(scores: Scores, ranks: Mapping[str, int]) -> int:
    """Count LoRA's parameters: the sum over modules of ``rank * (in_features + out_features)``.

    Raises
    ------
    AdaRankError
        If a rank is no whole number of 0 or more.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> lora_parameters(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), {"query": 8})
    1024
    """
    return sum(module_parameters(scores, ranks).values())


def module_parameters(scores: Scores, ranks: Mapping[str, int]) -> dict[str, int]:
    """Count LoRA's parameters of every scored module; 0 where it has no rank.

    Raises
    ------
    AdaRankError
        If a rank is no whole number of 0 or more.

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> query = ModuleScore("query", 0, "query", 64, 64, 1.0, 0.0)
    >>> module_parameters(Scores("tiny", "paper", "paired", 1.0, 0, {}, (query,)), {"query": 8})
    {'query': 1024}
    """
    known = {module.name: ranks.get(module.name, 0) for module in scores.modules}
    validated(known, Ranks, "the ranks")
    return {
        module.name: known[module.name] * (module.in_features + module.out_features)
        for module in scores.modules
    }


def _parameters_of_rank_one(scores: Scores) -> int:
    return sum(module.in_features + module.out_features for module in scores.modules)
