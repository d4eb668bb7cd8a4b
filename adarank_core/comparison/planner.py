"""How each arm of a comparison gets its ranks, all at one number of LoRA parameters."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from adarank_core.comparison.arms import ARMS, Arm
from adarank_core.comparison.inputs import input_path
from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.kept import keep, kept
from adarank_core.ranks.allocation import (
    RankPlan,
    allocate,
    largest_rank,
    lora_parameters,
    uniform_plan,
)
from adarank_core.ranks.plans import alphas, one_alpha
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["Planned", "Planner", "plain_scores", "same_rank"]


@dataclass(frozen=True)
class Planned:
    """How an arm is trained.

    Parameters
    ----------
    plan : RankPlan or None
        None for an arm without ranks.
    method : str
        See `finetune`.
    seconds : float
        What it took to find the ranks.
    """

    plan: RankPlan | None
    method: str = "lora"
    seconds: float = 0.0


class Planner:
    """Ranks of every arm at the same LoRA parameters, and the seconds that they took.

    Alpha follows the request's policy: twice each rank (``"proportional"``), or one alpha for all
    modules of all arms, that of the uniform ranks, which LoRA divides by the rank (``"constant"``)
    or by its root (``"rslora"``). A ``ranks.json`` keeps its own.

    Scores are computed once a seed and source, and kept in the output folder. All arms that read
    texts read the same 16 of the training texts, and those that need labels theirs.

    Parameters
    ----------
    request : ComparisonRequest
        What the comparison is asked for.
    objective : Classification
        See `adarank_core.training.objectives.objective_for`.
    output : pathlib.Path
    on_event : callable
        Called with ``"score"`` events, and ``"notice"`` where kept scores are computed anew.
    should_stop : callable

    Raises
    ------
    AdaRankError
        If the model cannot be loaded, or cannot have such ranks.
    """

    def __init__(
        self,
        request,
        objective,
        *,
        output: Path,
        on_event: Callable[[dict], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        from adarank_core.scoring.models import model_sha256

        self.objective, self.output = objective, output
        self.task_sha256 = objective.sha256()
        settings = request.settings
        self.bundle = objective.load(request.model, settings.device, settings.dtype)
        self.model_sha256 = model_sha256(self.bundle)
        self.asked = {
            "model": request.model,
            "model_sha256": self.model_sha256,
            "task_sha256": self.task_sha256,
            "trials": request.trials,
            "max_length": request.settings.max_length,
        }
        self.trials, self.max_length = request.trials, request.settings.max_length
        self.on_event, self.should_stop = on_event, should_stop
        self.plain = plain_scores(self.bundle)
        self.average_rank, self.alpha = request.average_rank, request.alpha
        # Refuses a bad rank at once, where uniform ranks would be cut.
        allocate(self.plain, self.average_rank, budget_by="parameters")
        self.one_alpha = None
        uniform = self.uniform_plan(self.average_rank)
        if self.alpha != "proportional":
            self.one_alpha = max(alphas(uniform.ranks, self.alpha).values())
        # What uniform ranks have, small modules cut to their size.
        self.uniform = self._with_alpha(uniform)
        self.parameters = uniform.budget["lora_parameters"]

    def plan(self, name: str, seed: int) -> Planned | None:
        """Return how an arm is trained, or None when stopped.

        Raises
        ------
        AdaRankError
            If this arm cannot have ranks, as where a score is 0 and one over it is asked for.
        """
        if name.endswith(".json"):
            return Planned(RankPlan.from_dict(read_json(input_path(self.output, name))))
        arm = ARMS[name]
        if arm.trains:
            return Planned(None, arm.method)
        scores, seconds = self._scores(arm, seed)
        if scores is None:
            return None
        started = time.perf_counter()
        if arm.of_scores is not None:
            scores = arm.of_scores(scores)
        if scores is self.plain:
            plan = self.uniform
        else:
            plan = self._allocated(scores, min_rank=arm.origin.min_rank)
        if arm.of_plan is not None:
            plan = arm.of_plan(self, plan, scores, seed)
        if not arm.origin.free:
            seconds = round(seconds + time.perf_counter() - started, 3)
        return Planned(plan, arm.method, seconds)

    def uniform_plan(self, rank: float) -> RankPlan:
        """Return the plan of equal ranks, as equal as they can be where the rank is no whole."""
        if float(rank).is_integer():
            return self._with_alpha(uniform_plan(self.plain, int(rank)))
        return self._with_alpha(allocate(self.plain, rank, budget_by="parameters"))

    def part_plan(self, part: str) -> RankPlan:
        """Return the plan that spends the budget evenly on a part of the model's modules.

        Parameters
        ----------
        part : {"attention", "mlp"}
        """
        from adarank_core.scoring.parts import part_modules

        inside = set(part_modules(self.bundle.model, part))
        names = [module.name for module in self.plain.modules]
        return self._allocated(self.plain, excluded=[n for n in names if n not in inside])

    def one_module_plan(self, scores: Scores) -> RankPlan:
        """Return the plan that spends the budget on the highest score alone, as far as it fits."""
        module = max(scores.modules, key=lambda module: module.score)
        cost = module.in_features + module.out_features
        rank = min(largest_rank(module), self.parameters // cost)
        plan = self._allocated(
            scores,
            parameters=rank * cost,
            excluded=[other.name for other in scores.modules if other is not module],
        )
        asked = {"requested": self.parameters, "residual": self.parameters - rank * cost}
        return replace(plan, budget={**plan.budget, **asked})

    def size_of(self, plan: RankPlan | None) -> tuple[int, int]:
        """Return a plan's LoRA parameters, and how many it is short of the comparison's."""
        used = 0 if plan is None else lora_parameters(self.plain, plan.ranks)
        return used, self.parameters - used

    def _allocated(self, scores: Scores, **options) -> RankPlan:
        """Spend the comparison's LoRA parameters, or other options' budget."""
        return self._with_alpha(allocate(scores, **{"parameters": self.parameters, **options}))

    def _with_alpha(self, plan: RankPlan) -> RankPlan:
        """Give a plan the comparison's alpha: unless it goes by rank, the same one in all arms."""
        if self.one_alpha is None:
            return plan
        alpha = one_alpha(plan.ranks, self.one_alpha)
        return replace(plan, alpha=alpha, budget={**plan.budget, "alpha_policy": self.alpha})

    def _scores(self, arm: Arm, seed: int) -> tuple[Scores | None, float]:
        """Return the scores that an arm starts from, None when stopped, and their seconds."""
        origin = arm.origin
        if origin.free:
            return origin.score(self, seed), 0.0
        path = self.output / "scores" / f"{origin.name}-seed{seed}.json"
        asked = {**self.asked, "scores": origin.name, "seed": seed}
        try:
            saved = kept(path, asked)
            if saved is not None:
                return Scores.from_dict(saved), saved["seconds"]
        except AdaRankError as error:
            message = f"the scores of {arm.name} seed {seed} are computed anew: {error}"
            self.on_event({"event": "notice", "arm": arm.name, "seed": seed, "message": message})
        started = time.perf_counter()
        if origin.texts is None:
            scores = origin.score(self, seed)
        else:
            scores = self._disagreement(origin.texts(self, seed), arm.name, seed)
        seconds = round(time.perf_counter() - started, 3)
        if scores is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            keep(path, {**scores.to_dict(), "seconds": seconds}, asked)
        return scores, seconds

    def _disagreement(self, texts: Texts, arm: str, seed: int) -> Scores | None:
        from adarank_core.scoring.score import score_iter

        options = {"trials": self.trials, "seed": seed, "max_length": self.max_length}
        for progress in score_iter(self.bundle, texts, **options):
            if self.should_stop():
                return None
            counts = {"done": progress.done, "total": progress.total}
            self.on_event({"event": "score", "arm": arm, "seed": seed, **counts})
        return progress.scores


def same_rank(model: str, rank: int) -> RankPlan:
    """Return the plan that gives every module of a model the same rank.

    Raises
    ------
    AdaRankError
        If the model cannot be loaded, or the rank is below 1 or above a module's size.

    Examples
    --------
    >>> same_rank("embedded", 8).budget["lora_parameters"]
    331776
    """
    from adarank_core.scoring.models import load_model

    return uniform_plan(plain_scores(load_model(model)), rank)


def plain_scores(bundle) -> Scores:
    """Return equal scores for all modules of a model: for names and sizes."""
    from adarank_core.scoring.models import adaptable_modules

    modules = tuple(
        ModuleScore(**vars(module), score=1.0, standard_error=0.0)
        for module in adaptable_modules(bundle.model)
    )
    return Scores(bundle.name, "none", "none", 1.0, 0, {}, modules, task_type=bundle.task_type)
