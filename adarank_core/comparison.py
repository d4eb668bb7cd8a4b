"""Arms × seeds → verdict: is one way of choosing ranks better than another, or can nobody tell?"""

import hashlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adarank_core.allocation import RankPlan, allocate, uniform_plan
from adarank_core.errors import AdaRankError
from adarank_core.export import write_json
from adarank_core.scores import ModuleScore, Scores, check_format, check_keys, read_json

__all__ = ["ARMS", "METRICS", "Verdict", "compare", "describe", "paired_comparison", "verdict_of"]

FORMAT = "adarank-verdict/1"
SIGNIFICANCE = 0.05
POWER = 0.8

#: What each arm controls for, in one line.
ARMS = {
    "uniform": "the same rank for every module: LoRA as it is",
    "adarank": "ranks from disagreement on 16 of the task's texts",
    "adarank-generic": "ranks from disagreement on generic sentences: is task text needed?",
    "adarank-sentence": "ranks from disagreement on one of the task's texts: is one enough?",
    "permuted": "AdaRank's ranks shuffled among modules of equal size: does it matter who?",
    "ramp-up": "ranks that grow with depth: is depth all that AdaRank finds?",
    "ramp-down": "ranks that fall with depth: the opposite ramp",
}
LATER = ("inverse", "random", "gradient", "snip", "fisher", "weight-norm", "stable-rank")
LATER += ("eva-ranks", "eva", "eva-uniform", "adalora", "head-only", "full")

#: Metric → whether more is better.
METRICS = {"test_loss": False, "test_accuracy": True, "macro_f1": True, "auc": True}
METRIC_NAMES = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "macro_f1": "macro-F1",
    "auc": "AUC",
}
COMPARED = ("arm", "against", "metric", "difference", "ci_low", "ci_high", "p_value")
COMPARED += ("p_adjusted", "verdict", "smallest_detectable")
NO_DIFFERENCE = "no detectable difference"
ONE_SEED = "one seed decides nothing"


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to.

    Parameters
    ----------
    task, model : str
    arms : dict
        By name: ``lora_parameters`` (int), ``ranks`` (of the first seed), ``allocation_seconds``
        (mean over seeds) and ``runs``, one dictionary a seed as `finetune` returns it.
    comparisons : tuple of dict
        As `paired_comparison` returns them, with ``p_adjusted`` and ``verdict``.

    Examples
    --------
    >>> Verdict.from_dict(Verdict("t", "m", {}, ()).to_dict())
    Verdict(task='t', model='m', arms={}, comparisons=())
    """

    task: str
    model: str
    arms: dict
    comparisons: tuple[dict, ...]

    def to_dict(self) -> dict:
        """Return the ``adarank-verdict/1`` dictionary."""
        return {
            "format": FORMAT,
            "task": self.task,
            "model": self.model,
            "arms": self.arms,
            "comparisons": list(self.comparisons),
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Verdict":
        """Build a verdict from an ``adarank-verdict/1`` dictionary.

        Raises
        ------
        AdaRankError
            If the format tag or a key is not right.
        """
        check_format(data, FORMAT, "verdict")
        check_keys(data, ("task", "model", "arms", "comparisons"), "the verdict")
        if not isinstance(data["arms"], dict) or not isinstance(data["comparisons"], list):
            raise AdaRankError("the verdict's arms must be an object and its comparisons a list")
        for name, arm in data["arms"].items():
            runs = arm.get("runs") if isinstance(arm, dict) else None
            if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
                raise AdaRankError(f"the arm {name!r} of the verdict has no list of runs")
        for compared in data["comparisons"]:
            if not isinstance(compared, dict):
                raise AdaRankError(f"a comparison of the verdict is {compared!r}, not an object")
            check_keys(compared, COMPARED, "a comparison of the verdict")
            if compared["metric"] not in METRICS:
                raise AdaRankError(
                    f"the verdict compares {compared['metric']!r}, which is no metric"
                )
        return cls(data["task"], data["model"], data["arms"], tuple(data["comparisons"]))


def compare(
    model: str,
    task,
    arms: Sequence[str] = ("uniform", "adarank"),
    *,
    output: str | Path,
    average_rank: float = 8,
    seeds: Sequence[int] = (0,),
    trials: int | None = None,
    settings=None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """Fine-tune every arm with every seed at equal LoRA parameters, and judge.

    Parameters
    ----------
    model : str
        Name for `load_model`.
    task : Task
    arms : sequence of str
        Keys of `ARMS`, or paths of ``ranks.json`` files. The first is what the others are held
        against, unless ``"uniform"`` is among them.
    output : str or pathlib.Path
        Folder for scores, ranks, adapters, results and ``verdict.json``. What a run left there
        under the same arguments is taken over, not computed again.
    average_rank : float
        Every arm gets the LoRA parameters that this rank everywhere would have.
    seeds : sequence of int
        A seed draws the head (for scores and training), noise, order of data and dropout.
    trials : int, optional
        Noisy instances a module, for the arms that score; see `score_iter`.
    settings : Settings, optional
    on_event : callable
        Called with the events of `finetune`, each with ``arm`` and ``seed``, and with
        ``"plan"``, ``"score"`` (``done``, ``total``) and ``"result"`` events.
    should_stop : callable
        Asked after every step and module; when it says so the result is None.

    Returns
    -------
    Verdict or None

    Raises
    ------
    AdaRankError
        If an arm is unknown, a seed or an arm is given twice, or an arm cannot be run.

    Examples
    --------
    >>> from adarank_core import load_task
    >>> task = load_task("docstrings")                                            # doctest: +SKIP
    >>> compare("embedded", task, seeds=(0, 1, 2), output="run").comparisons      # doctest: +SKIP
    """
    from adarank_core.finetuning import Settings, check_plan, finetune

    settings = settings or Settings()
    check_arms(arms, seeds)
    if trials is not None and trials < 2:
        raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
    output = Path(output)
    planner = _Planner(model, task, average_rank, trials, settings, output, on_event, should_stop)
    for arm in arms:
        if arm.endswith(".json"):
            check_plan(planner.bundle, RankPlan.from_dict(read_json(arm)))
    results: dict[str, dict] = {arm: {"runs": []} for arm in arms}
    for seed in seeds:
        for arm in arms:
            folder = output / "runs" / f"{file_name(arm)}-seed{seed}"
            if (folder / "result.json").exists():
                saved = read_json(folder / "result.json")
                plan = RankPlan.from_dict(read_json(folder / "ranks.json"))
                result, seconds = saved["result"], saved["allocation_seconds"]
            else:
                planned = planner.plan(arm, seed)
                if planned is None:
                    return None
                plan, seconds = planned
                on_event({"event": "plan", "arm": arm, "seed": seed, "budget": plan.budget})
                folder.mkdir(parents=True, exist_ok=True)
                result = finetune(
                    model,
                    task,
                    plan,
                    settings,
                    seed=seed,
                    output=folder,
                    on_event=lambda event, of={"arm": arm, "seed": seed}: on_event({**event, **of}),
                    should_stop=should_stop,
                )
                if result is None:
                    return None
                write_json(folder / "ranks.json", plan.to_dict())
                write_json(
                    folder / "result.json", {"result": result, "allocation_seconds": seconds}
                )
            on_event({"event": "result", "arm": arm, **result, "allocation_seconds": seconds})
            results[arm].setdefault("lora_parameters", result["lora_parameters"])
            results[arm].setdefault("ranks", plan.ranks)
            results[arm].setdefault("allocation", []).append(seconds)
            results[arm]["runs"].append(
                {key: value for key, value in result.items() if key != "lora_parameters"}
            )
    for arm in results.values():
        seconds = arm.pop("allocation")
        arm["allocation_seconds"] = round(sum(seconds) / len(seconds), 3)
    verdict = verdict_of(task.name, model, results)
    write_json(output / "verdict.json", verdict.to_dict())
    return verdict


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
    from adarank_core.models import load_model

    return uniform_plan(_plain_scores(load_model(model)), rank)


def _plain_scores(bundle) -> Scores:
    """Return equal scores for all modules of a model: for names and sizes."""
    from adarank_core.models import adaptable_modules

    modules = tuple(
        ModuleScore(**vars(module), score=1.0, standard_error=0.0)
        for module in adaptable_modules(bundle.model)
    )
    return Scores(bundle.name, "none", "none", 1.0, 0, {}, modules)


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
        if arm in LATER:
            raise AdaRankError(f"the arm {arm!r} is not built yet; choose from {', '.join(ARMS)}")
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


class _Planner:
    """Ranks of every arm at the same LoRA parameters, and the seconds that they took.

    Scores are computed once a seed and source, and kept in the output folder.
    """

    def __init__(self, model, task, average_rank, trials, settings, output, on_event, should_stop):
        from adarank_core.models import load_model

        self.task, self.trials, self.output = task, trials, output
        self.max_length = settings.max_length
        self.on_event, self.should_stop = on_event, should_stop
        labels = len(task.label_names)
        self.bundle = load_model(model, labels=labels, head="classification")
        self.plain = _plain_scores(self.bundle)
        self.average_rank = average_rank
        allocate(self.plain, average_rank, budget_by="parameters")  # refuses a bad rank at once

    def plan(self, arm: str, seed: int) -> tuple[RankPlan, float] | None:
        """Return the arm's plan and the seconds it took, or None when stopped."""
        if arm.endswith(".json"):
            return RankPlan.from_dict(read_json(arm)), 0.0
        if arm == "uniform" and float(self.average_rank).is_integer():
            return uniform_plan(self.plain, int(self.average_rank)), 0.0
        scores = self._scores(arm, seed)
        if scores is None:
            return None
        scores, seconds = scores
        started = time.perf_counter()
        plan = allocate(scores, self.average_rank, budget_by="parameters")
        if arm == "permuted":
            plan = permuted(plan, scores, seed)
        return plan, round(seconds + time.perf_counter() - started, 3)

    def _scores(self, arm: str, seed: int) -> tuple[Scores, float] | None:
        if arm == "uniform":
            return self.plain, 0.0
        if arm in ("ramp-up", "ramp-down"):
            from adarank_core.baselines import depth_ramp

            return depth_ramp(self.plain, up=arm == "ramp-up"), 0.0
        source = "adarank" if arm == "permuted" else arm
        path = self.output / "scores" / f"{source}-seed{seed}.json"
        if path.exists():
            saved = read_json(path)
            return Scores.from_dict(saved), saved["seconds"]
        return self._disagreement(source, arm, seed, path)

    def _disagreement(self, source, arm, seed, path) -> tuple[Scores, float] | None:
        from adarank_core.scoring import score_iter
        from adarank_core.texts import generic_texts, sentence

        started = time.perf_counter()
        if source == "adarank-generic":
            texts = generic_texts()
        elif source == "adarank-sentence":
            texts = sentence(self.task.sample_texts(1, seed=seed).items[0])
        else:
            texts = self.task.sample_texts(16, seed=seed)
        options = {"trials": self.trials, "seed": seed, "max_length": self.max_length}
        for progress in score_iter(self.bundle, texts, **options):
            if self.should_stop():
                return None
            self.on_event(
                {
                    "event": "score",
                    "arm": arm,
                    "seed": seed,
                    "done": progress.done,
                    "total": progress.total,
                }
            )
        seconds = round(time.perf_counter() - started, 3)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**progress.scores.to_dict(), "seconds": seconds})
        return progress.scores, seconds


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
    )


def verdict_of(task: str, model: str, arms: dict) -> Verdict:
    """Hold every arm against the reference on every metric, with Holm's correction over arms.

    The reference is ``"uniform"``, or the first arm without it; where both are there,
    ``"adarank"`` is held against ``"permuted"`` too.

    Parameters
    ----------
    task, model : str
    arms : dict
        As in `Verdict`.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> runs = lambda *losses: {"runs": [
    ...     {"seed": n, "test_loss": loss} for n, loss in enumerate(losses)]}
    >>> verdict = verdict_of("t", "m", {"uniform": runs(0.5, 0.6), "adarank": runs(0.4, 0.55)})
    >>> verdict.comparisons[0]["verdict"]
    'no detectable difference'
    """
    reference = "uniform" if "uniform" in arms else next(iter(arms))
    pairs = [(arm, reference) for arm in arms if arm != reference]
    if "adarank" in arms and "permuted" in arms and reference not in ("adarank", "permuted"):
        pairs.append(("adarank", "permuted"))
    comparisons = []
    for metric in METRICS:
        of_metric = []
        for arm, against in pairs:
            first, second = ([run.get(metric) for run in arms[a]["runs"]] for a in (arm, against))
            if None not in first and None not in second:
                compared = paired_comparison(first, second)
                of_metric.append({"arm": arm, "against": against, "metric": metric, **compared})
        adjusted = _holm([compared["p_value"] for compared in of_metric])
        for compared, p_adjusted in zip(of_metric, adjusted, strict=True):
            smallest = compared.pop("smallest_detectable")
            compared["p_adjusted"] = p_adjusted
            compared["verdict"] = _word(metric, compared["difference"], p_adjusted)
            compared["smallest_detectable"] = smallest
        comparisons += of_metric
    return Verdict(task, model, arms, tuple(comparisons))


def paired_comparison(values: Sequence[float], against: Sequence[float]) -> dict:
    """Compare two arms' values seed by seed, with the paired t-test.

    Parameters
    ----------
    values, against : sequence of float
        One value a seed, in the same order.

    Returns
    -------
    dict
        ``difference``, the mean of ``values - against``; ``ci_low`` and ``ci_high``, its 95%
        interval; ``p_value``; and ``smallest_detectable``, the difference that this many seeds
        would find in four of five comparisons, given how much the differences vary. All but the
        first are None with one seed. The test assumes that the differences are about normal.
        Where all seeds give the same difference, as accuracies on few texts do, that assumption
        would make it certain; there the p-value is that of the sign test, and the others None.

    Examples
    --------
    >>> result = paired_comparison([0.4, 0.5, 0.45], [0.5, 0.58, 0.56])
    >>> round(result["difference"], 4), round(result["p_value"], 3)
    (-0.0967, 0.008)
    """
    from scipy import stats

    differences = [a - b for a, b in zip(values, against, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count
    if count < 2:
        nothing = dict.fromkeys(("ci_low", "ci_high", "p_value", "smallest_detectable"))
        return {"difference": mean, **nothing}
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1))
    if spread <= 1e-12 * max(map(abs, (*values, *against))):
        return {
            "difference": mean,
            "ci_low": None,
            "ci_high": None,
            "p_value": 0.5 ** (count - 1) if any(differences) else 1.0,
            "smallest_detectable": None,
        }
    test = stats.ttest_rel(values, against)
    interval = test.confidence_interval(1 - SIGNIFICANCE)
    return {
        "difference": mean,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p_value": float(test.pvalue),
        "smallest_detectable": spread / math.sqrt(count) * _detectable(count),
    }


def _detectable(count: int) -> float:
    """Return the difference, in standard errors, that ``count`` pairs find with power 0.8."""
    from scipy import optimize, stats

    critical = stats.t.ppf(1 - SIGNIFICANCE / 2, count - 1)

    # The chance of a find in the wrong direction is left out: it is below 1e-4 at this power.
    def missing(effect):
        return stats.nct.sf(critical, count - 1, effect) - POWER

    return float(optimize.brentq(missing, 0.0, 2 * critical))


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number (Holm, 1979); None stays None."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for position, (p, at) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - position) * p))
        adjusted[at] = highest
    return adjusted


def _word(metric: str, difference: float, p_adjusted: float | None) -> str:
    if p_adjusted is None:
        return ONE_SEED
    if p_adjusted >= SIGNIFICANCE:
        return NO_DIFFERENCE
    return "better" if (difference > 0) == METRICS[metric] else "worse"


def describe(compared: dict, seeds: int) -> str:
    """Say a comparison in one sentence.

    Parameters
    ----------
    compared : dict
        One of a verdict's ``comparisons``.
    seeds : int

    Returns
    -------
    str

    Examples
    --------
    >>> compared = {"arm": "adarank", "against": "uniform", "metric": "test_loss",
    ...     "difference": -0.034, "ci_low": -0.056, "ci_high": -0.012, "p_value": 0.01,
    ...     "p_adjusted": 0.01, "verdict": "better", "smallest_detectable": 0.03}
    >>> describe(compared, 5)
    "adarank's test loss is lower than uniform's by 0.034 (95% interval 0.012 to 0.056 lower, \
5 seeds): better"
    """
    metric, difference = METRIC_NAMES[compared["metric"]], compared["difference"]
    arm, against, verdict = (compared[key] for key in ("arm", "against", "verdict"))
    start = f"{arm}'s {metric} is {_way(difference)} than {against}'s by {_size(difference)}"
    if difference == 0:
        start = f"{arm}'s {metric} is the same as {against}'s"
    if verdict == ONE_SEED:
        return f"{start} with this seed, and one seed decides nothing"
    low, high = compared["ci_low"], compared["ci_high"]
    if low is None:
        found = f"{start} with each of {seeds} seeds"
    else:
        if low * high > 0:
            near, far = sorted((low, high), key=abs)
            interval = f"{_size(near)} to {_size(far)} {_way(difference)}"
        else:
            interval = f"{_size(low)} {_way(low)} to {_size(high)} {_way(high)}"
        found = f"{start} (95% interval {interval}, {seeds} seeds)"
    if verdict != NO_DIFFERENCE:
        return f"{found}: {verdict}"
    if compared["p_value"] < SIGNIFICANCE:
        return f"{found}: {NO_DIFFERENCE} once corrected for the number of arms"
    smallest = compared["smallest_detectable"]
    could = "" if smallest is None else f"; {seeds} seeds could have shown one of {_size(smallest)}"
    return f"{found}: {NO_DIFFERENCE}{could}"


def _way(difference: float) -> str:
    return "lower" if difference < 0 else "higher"


def _size(difference: float) -> str:
    return f"{abs(difference):.3f}" if abs(difference) >= 0.0005 else "less than 0.001"
