"""The arms of a comparison: what each controls for, and how it gets its ranks."""

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, write_json
from adarank_core.ranks.allocation import RankPlan, allocate, lora_parameters, uniform_plan
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = ["ARMS", "Planned", "Planner", "check_arms", "file_name", "permuted", "same_rank"]

#: What each arm controls for, in one line.
ARMS = {
    "uniform": "the same rank for every module: LoRA as it is",
    "adarank": "ranks from disagreement on 16 of the task's texts",
    "adarank-generic": "ranks from disagreement on generic sentences: is task text needed?",
    "adarank-sentence": "ranks from disagreement on one of the task's texts: is one enough?",
    "permuted": "AdaRank's ranks shuffled among modules of equal size: does it matter who?",
    "inverse": "ranks from one over the disagreement: does the wrong way round do harm?",
    "ramp-up": "ranks that grow with depth: is depth all that AdaRank finds?",
    "ramp-down": "ranks that fall with depth: the opposite ramp",
    "random": "ranks drawn at random, anew for every seed: are unequal ranks enough?",
    "gradient": "ranks from the norm of the loss's gradient: do labels tell more?",
    "snip": "ranks from SNIP, |gradient × weight|: is a pruning score as good?",
    "fisher": "ranks from the empirical Fisher information: the classical importance",
    "weight-norm": "ranks from the weights' norms: is a look at the weights enough?",
    "stable-rank": "ranks from the weights' stable ranks: or at their spectrum?",
    "eva-ranks": "EVA's ranks, from the variance of the inputs, with LoRA's usual start",
    "eva": "EVA's ranks and EVA's start: the whole of a rival method",
    "eva-uniform": "the same rank for every module with EVA's start: is it the start?",
    "adalora": "AdaLoRA, whose ranks move while it trains: is before training early enough?",
    "head-only": "no LoRA at all: what the head alone can do",
    "full": "all weights trained, at a hundredth of the learning rate: for reference",
}
#: Whose scores an arm turns round or shuffles.
SOURCES = {"permuted": "adarank", "inverse": "adarank"}
SOURCES |= {"eva": "eva-ranks", "eva-uniform": "uniform"}
METHODS = {"eva": "eva", "eva-uniform": "eva"}
METHODS |= {name: name for name in ("adalora", "head-only", "full")}
SAMPLED = 16  # texts that an arm may look at


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
    model : str
    task : Task
    average_rank : float
    trials : int or None
    max_length : int
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
        model: str,
        task,
        average_rank: float,
        *,
        trials: int | None,
        max_length: int,
        output: Path,
        on_event: Callable[[dict], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        from adarank_core.scoring.models import load_model

        self.task, self.trials, self.output, self.max_length = task, trials, output, max_length
        self.on_event, self.should_stop = on_event, should_stop
        labels = len(task.label_names)
        self.bundle = load_model(model, labels=labels, head="classification")
        self.plain = plain_scores(self.bundle)
        self.average_rank = average_rank
        allocate(self.plain, average_rank, budget_by="parameters")  # refuses a bad rank at once

    def plan(self, arm: str, seed: int) -> Planned | None:
        """Return how the arm is trained, or None when stopped.

        Raises
        ------
        AdaRankError
            If this arm cannot have ranks, as where a score is 0 and one over it is asked for.
        """
        if arm.endswith(".json"):
            return Planned(RankPlan.from_dict(read_json(arm)))
        method = METHODS.get(arm, "lora")
        if method in ("head-only", "full"):
            return Planned(None, method)
        found = self._scores(arm, seed)
        if found is None:
            return None
        scores, seconds = found
        started = time.perf_counter()
        if scores is self.plain and float(self.average_rank).is_integer():
            plan = uniform_plan(self.plain, int(self.average_rank))
        else:
            fewest = 0 if scores.mode == "eva" else 1  # EVA leaves modules out
            plan = allocate(scores, self.average_rank, budget_by="parameters", min_rank=fewest)
        if arm == "permuted":
            plan = permuted(plan, scores, seed)
        if seconds:
            seconds = round(seconds + time.perf_counter() - started, 3)
        return Planned(plan, method, seconds)

    def size_of(self, plan: RankPlan | None) -> tuple[int, int]:
        """Return a plan's LoRA parameters, and how many it is short of the comparison's."""
        used = 0 if plan is None else lora_parameters(self.plain, plan.ranks)
        sizes = sum(module.in_features + module.out_features for module in self.plain.modules)
        return used, round(self.average_rank * sizes) - used

    def _scores(self, arm: str, seed: int) -> tuple[Scores, float] | None:
        from adarank_core.scoring import baselines

        source = SOURCES.get(arm, arm)
        if source in ("uniform", "adalora"):
            return self.plain, 0.0
        if source in ("ramp-up", "ramp-down"):
            return baselines.depth_ramp(self.plain, up=source == "ramp-up"), 0.0
        if source == "random":
            return baselines.random_scores(self.bundle, seed), 0.0
        path = self.output / "scores" / f"{source}-seed{seed}.json"
        if path.exists():
            saved = read_json(path)
            scores, seconds = Scores.from_dict(saved), saved["seconds"]
        else:
            started = time.perf_counter()
            scores = self._computed(source, arm, seed)
            if scores is None:
                return None
            seconds = round(time.perf_counter() - started, 3)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**scores.to_dict(), "seconds": seconds})
        return (baselines.inverse(scores) if arm == "inverse" else scores), seconds

    def _computed(self, source: str, arm: str, seed: int) -> Scores | None:
        from adarank_core.data.texts import Texts, generic_texts
        from adarank_core.scoring import baselines

        if source == "weight-norm":
            return baselines.weight_norm(self.bundle)
        if source == "stable-rank":
            return baselines.stable_rank(self.bundle)
        # As Task.sample_texts draws them, with their labels.
        drawn = np.random.default_rng(seed).permutation(len(self.task.train))[:SAMPLED]
        rows = self.task.train.iloc[drawn]
        texts = Texts(self.task.name, tuple(rows["text"]))
        labelled = {
            "gradient": baselines.gradient_norm,
            "snip": baselines.snip,
            "fisher": baselines.empirical_fisher,
        }
        if source in labelled:
            return labelled[source](self.bundle, texts, list(rows["label"]), seed)
        if source == "eva-ranks":
            from adarank_core.scoring.eva import eva

            return eva(self.bundle, texts, max(1, round(self.average_rank)), 2.0, self.max_length)
        if source == "adarank-generic":
            texts = generic_texts()
        elif source == "adarank-sentence":
            texts = Texts("sentence", texts.items[:1])
        return self._disagreement(texts, arm, seed)

    def _disagreement(self, texts, arm: str, seed: int) -> Scores | None:
        from adarank_core.scoring.score import score_iter

        options = {"trials": self.trials, "seed": seed, "max_length": self.max_length}
        for progress in score_iter(self.bundle, texts, **options):
            if self.should_stop():
                return None
            counts = {"done": progress.done, "total": progress.total}
            self.on_event({"event": "score", "arm": arm, "seed": seed, **counts})
        return progress.scores


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


def check_arms(arms: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise `AdaRankError` unless a comparison of these arms and seeds can be run."""
    if not arms:
        raise AdaRankError("no arms are given; name at least one, such as 'uniform'")
    if not seeds:
        raise AdaRankError("no seeds are given; name at least one, such as 0")
    for kind, items in (("arm", arms), ("seed", seeds)):
        twice = next((item for item in items if list(items).count(item) > 1), None)
        if twice is not None:
            raise AdaRankError(f"the {kind} {twice!r} is given twice; give each once")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise AdaRankError(f"the seed is {seed}; it must be from 0 to {2**32 - 1}")
    for arm in arms:
        if arm not in ARMS and not arm.endswith(".json"):
            raise AdaRankError(
                f"the arm {arm!r} is unknown; choose from {', '.join(ARMS)}, or give the path of "
                "a ranks.json"
            )
        if arm.endswith(".json"):
            RankPlan.from_dict(read_json(arm))


def file_name(arm: str) -> str:
    """Return an arm's name as part of a file name; that of a file tells its content too.

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
    return f"{Path(arm).stem}-{hashlib.sha256(Path(arm).read_bytes()).hexdigest()[:8]}"


def arm_label(arm: str) -> str:
    """Return what people call an arm: the path of a ``ranks.json`` is cut to its file's name.

    Examples
    --------
    >>> arm_label("adarank"), arm_label("plans/mine.json")
    ('adarank', 'own ranks (mine)')
    """
    return f"own ranks ({Path(arm).stem})" if arm.endswith(".json") else arm
