"""The arms of a comparison: what each controls for, and how it gets its ranks."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from adarank_core.checks import is_whole
from adarank_core.comparison.inputs import input_path
from adarank_core.data.texts import Texts, generic_texts
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json, write_json
from adarank_core.ranks.allocation import RankPlan, allocate, lora_parameters, uniform_plan
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = [
    "ARMS",
    "Arm",
    "Planned",
    "Planner",
    "check_arms",
    "file_name",
    "permuted",
    "plain_scores",
    "same_rank",
]

SAMPLED = 16  # texts that an arm may look at


@dataclass(frozen=True)
class Arm:
    """One way of choosing ranks and training with them: a line of the table `ARMS`.

    Its scores are its own, those of another arm, or none. Own ones come from ``texts`` or
    ``score``, which get the `Planner` and the seed.

    Parameters
    ----------
    name : str
    question : str
        What it controls for, in one line.
    texts : callable, optional
        Returns the texts on which disagreement is scored.
    score : callable, optional
        Returns scores that are no disagreement.
    source : str
        The arm whose scores it takes.
    of_scores : callable, optional
        Turns the scores into others.
    of_plan : callable, optional
        Turns the plan, given the scores and the seed, into another.
    method : str
        How it is trained; see `finetune`.
    needs_labels : bool
        Whether its scores depend on what is to be learned of the texts.
    free : bool
        Whether its scores take no time: they are not kept then, and count no seconds.
    min_rank : int
        That its own scores give a module at least.
    trains : str
        What is trained where there is no LoRA and there are no ranks; else empty.

    Examples
    --------
    >>> ARMS["permuted"].scores, ARMS["gradient"].scores, ARMS["gradient"].needs_labels
    ('adarank', None, True)
    """

    name: str
    question: str
    texts: Callable[["Planner", int], Texts] | None = None
    score: Callable[["Planner", int], Scores] | None = None
    source: str = ""
    of_scores: Callable[[Scores], Scores] | None = None
    of_plan: Callable[[RankPlan, Scores, int], RankPlan] | None = None
    method: str = "lora"
    needs_labels: bool = False
    free: bool = False
    min_rank: int = 1
    trains: str = ""

    @property
    def origin(self) -> "Arm":
        """The arm whose scores it takes: itself, or another."""
        return ARMS[self.source] if self.source else self

    @property
    def scores(self) -> str | None:
        """The arm whose disagreement is scored for its ranks; None where none is."""
        return self.origin.name if self.origin.texts else None


def permuted(plan: RankPlan, scores: Scores, seed: int) -> RankPlan:
    """Shuffle a plan's ranks among modules of equal size: the same parameters, other owners.

    Examples
    --------
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


# Where scores come from ---------------------------------------------------------------------------


def _task_texts(planner: "Planner", seed: int) -> Texts:
    return planner.objective.sample(SAMPLED, seed)[0]


def _one_text(planner: "Planner", seed: int) -> Texts:
    return Texts("sentence", _task_texts(planner, seed).items[:1])


def _labelled(planner: "Planner", seed: int) -> tuple:
    return (planner.bundle, *planner.objective.sample(SAMPLED, seed), seed)


def _baselines():
    from adarank_core.scoring import baselines  # imports torch

    return baselines


def _eva(planner: "Planner", seed: int) -> Scores:
    from adarank_core.scoring.eva import eva

    rank = max(1, round(planner.average_rank))
    return eva(planner.bundle, _task_texts(planner, seed), rank, 2.0, planner.max_length)


# The table ----------------------------------------------------------------------------------------

_TABLE = (
    Arm(
        "uniform",
        "the same rank for every module: LoRA as it is",
        score=lambda at, seed: at.plain,
        free=True,
    ),
    Arm("adarank", "ranks from disagreement on 16 of the task's texts", texts=_task_texts),
    Arm(
        "adarank-generic",
        "ranks from disagreement on generic sentences: is task text needed?",
        texts=lambda at, seed: generic_texts(),
    ),
    Arm(
        "adarank-sentence",
        "ranks from disagreement on one of the task's texts: is one enough?",
        texts=_one_text,
    ),
    Arm(
        "permuted",
        "AdaRank's ranks shuffled among modules of equal size: does it matter who?",
        source="adarank",
        of_plan=permuted,
    ),
    Arm(
        "inverse",
        "ranks from one over the disagreement: does the wrong way round do harm?",
        source="adarank",
        of_scores=lambda scores: _baselines().inverse(scores),
    ),
    Arm(
        "ramp-up",
        "ranks that grow with depth: is depth all that AdaRank finds?",
        score=lambda at, seed: _baselines().depth_ramp(at.plain, up=True),
        free=True,
    ),
    Arm(
        "ramp-down",
        "ranks that fall with depth: the opposite ramp",
        score=lambda at, seed: _baselines().depth_ramp(at.plain, up=False),
        free=True,
    ),
    Arm(
        "random",
        "ranks drawn at random, anew for every seed: are unequal ranks enough?",
        score=lambda at, seed: _baselines().random_scores(at.bundle, seed),
        free=True,
    ),
    Arm(
        "gradient",
        "ranks from the norm of the loss's gradient: do labels tell more?",
        score=lambda at, seed: _baselines().gradient_norm(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "snip",
        "ranks from SNIP, |gradient × weight|: is a pruning score as good?",
        score=lambda at, seed: _baselines().snip(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "fisher",
        "ranks from the empirical Fisher information: the classical importance",
        score=lambda at, seed: _baselines().empirical_fisher(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "weight-norm",
        "ranks from the weights' norms: is a look at the weights enough?",
        score=lambda at, seed: _baselines().weight_norm(at.bundle),
    ),
    Arm(
        "stable-rank",
        "ranks from the weights' stable ranks: or at their spectrum?",
        score=lambda at, seed: _baselines().stable_rank(at.bundle),
    ),
    # EVA leaves modules out.
    Arm(
        "eva-ranks",
        "EVA's ranks, from the variance of the inputs, with LoRA's usual start",
        score=_eva,
        min_rank=0,
    ),
    Arm(
        "eva",
        "EVA's ranks and EVA's start: the whole of a rival method",
        source="eva-ranks",
        method="eva",
    ),
    Arm(
        "eva-uniform",
        "the same rank for every module with EVA's start: is it the start?",
        source="uniform",
        method="eva",
    ),
    Arm(
        "adalora",
        "AdaLoRA, whose ranks move while it trains: is before training early enough?",
        source="uniform",
        method="adalora",
    ),
    Arm(
        "head-only",
        "no LoRA at all: what the head alone can do",
        method="head-only",
        trains="the head's weights only",
    ),
    Arm(
        "full",
        "all weights trained, at a hundredth of the learning rate: for reference",
        method="full",
        trains="all weights, and no LoRA",
    ),
)
#: Every arm by its name; to add one is to add a line to the table.
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _TABLE}


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
        Called with ``"score"`` events.
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
        self.objective, self.output = objective, output
        self.trials, self.max_length = request.trials, request.settings.max_length
        self.on_event, self.should_stop = on_event, should_stop
        self.bundle = objective.load(request.model)
        self.plain = plain_scores(self.bundle)
        self.average_rank = request.average_rank
        # What uniform ranks have, small modules cut to their size. Refuses a bad rank at once.
        uniform = allocate(self.plain, self.average_rank, budget_by="parameters")
        if float(self.average_rank).is_integer():
            uniform = uniform_plan(self.plain, int(self.average_rank))
        self.uniform, self.parameters = uniform, uniform.budget["lora_parameters"]

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
            plan = allocate(scores, parameters=self.parameters, min_rank=arm.origin.min_rank)
        if arm.of_plan is not None:
            plan = arm.of_plan(plan, scores, seed)
        if not arm.origin.free:
            seconds = round(seconds + time.perf_counter() - started, 3)
        return Planned(plan, arm.method, seconds)

    def size_of(self, plan: RankPlan | None) -> tuple[int, int]:
        """Return a plan's LoRA parameters, and how many it is short of the comparison's."""
        used = 0 if plan is None else lora_parameters(self.plain, plan.ranks)
        return used, self.parameters - used

    def _scores(self, arm: Arm, seed: int) -> tuple[Scores | None, float]:
        """Return the scores that an arm starts from, None when stopped, and their seconds."""
        origin = arm.origin
        if origin.free:
            return origin.score(self, seed), 0.0
        path = self.output / "scores" / f"{origin.name}-seed{seed}.json"
        if path.exists():
            saved = read_json(path)
            return Scores.from_dict(saved), saved["seconds"]
        started = time.perf_counter()
        if origin.texts is None:
            scores = origin.score(self, seed)
        else:
            scores = self._disagreement(origin.texts(self, seed), arm.name, seed)
        seconds = round(time.perf_counter() - started, 3)
        if scores is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**scores.to_dict(), "seconds": seconds})
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


def check_arms(arms: Sequence[str], seeds: Sequence[int], folder: Path | None = None) -> None:
    """Raise `AdaRankError` unless a comparison of these arms and seeds can be run.

    Parameters
    ----------
    arms : sequence of str
    seeds : sequence of int
    folder : pathlib.Path, optional
        The run's, which may hold copies of plans.

    Examples
    --------
    >>> check_arms(["uniform", "adarank"], [0, 1])
    """
    if not arms:
        raise AdaRankError("no arms are given; name at least one, such as 'uniform'")
    if not seeds:
        raise AdaRankError("no seeds are given; name at least one, such as 0")
    for seed in seeds:
        if not is_whole(seed, 0, 2**32 - 1):
            raise AdaRankError(f"the seed is {quoted(seed)}; it must be from 0 to {2**32 - 1}")
    for kind, items in (("arm", arms), ("seed", seeds)):
        twice = next((item for item, count in Counter(items).items() if count > 1), None)
        if twice is not None:
            raise AdaRankError(f"the {kind} {twice!r} is given twice; give each once")
    for arm in arms:
        if arm not in ARMS and not arm.endswith(".json"):
            raise AdaRankError(
                f"the arm {arm!r} is unknown; choose from {', '.join(ARMS)}, or give the path of "
                "a ranks.json"
            )
        if arm.endswith(".json"):
            RankPlan.from_dict(read_json(input_path(folder, arm)))


def file_name(arm: str, folder: Path | None = None) -> str:
    """Return an arm's name as part of a file name; that of a file tells its content too.

    Parameters
    ----------
    arm : str
    folder : pathlib.Path, optional
        The run's, which may hold a copy of the file.

    Examples
    --------
    >>> file_name("adarank")
    'adarank'
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "adarank.json"
    >>> _ = path.write_text("{}")
    >>> file_name(str(path))
    'adarank-44136fa3'
    """
    if arm in ARMS:
        return arm
    # Two files may have one name, and a file may have changed since an earlier run.
    content = Path(input_path(folder, arm)).read_bytes()
    return f"{Path(arm).stem}-{hashlib.sha256(content).hexdigest()[:8]}"


def arm_label(arm: str) -> str:
    """Return what people call an arm: the path of a ``ranks.json`` is cut to its file's name.

    Examples
    --------
    >>> arm_label("adarank"), arm_label("plans/mine.json")
    ('adarank', 'own ranks (mine)')
    """
    return f"own ranks ({Path(arm).stem})" if arm.endswith(".json") else arm
