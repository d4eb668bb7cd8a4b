"""What a comparison's recorded events say: curves, results so far, what is being done, time left.

Pure functions from events to plain data. Several pages may show the same run at the same time, so
nothing is remembered here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

__all__ = [
    "Progress",
    "arm_label",
    "curve_table",
    "duration",
    "finished_results",
    "planned",
    "progress_of",
]

# Whose scores an arm's ranks come from; the other arms need none.
SCORED = {
    "adarank": "adarank",
    "permuted": "adarank",
    "inverse": "adarank",
    "adarank-generic": "adarank-generic",
    "adarank-sentence": "adarank-sentence",
}


def arm_label(arm: str) -> str:
    """Return what people call an arm: the path of a ``ranks.json`` is cut to its file's name.

    Examples
    --------
    >>> arm_label("adarank"), arm_label("plans/mine.json")
    ('adarank', 'own ranks (mine)')
    """
    return f"own ranks ({Path(arm).stem})" if arm.endswith(".json") else arm


def curve_table(events: Sequence[dict], metric: str) -> pd.DataFrame:
    """Collect one metric of all arms and seeds over the steps.

    Parameters
    ----------
    events : sequence of dict
        As a comparison records them.
    metric : {"validation_loss", "validation_accuracy", "train_loss"}

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``seed``, ``step`` and ``value``. An arm that was begun again after an
        interruption is there once; one that went on from a checkpoint keeps what came before it.

    Examples
    --------
    >>> step = {"event": "step", "arm": "uniform", "seed": 0, "step": 1, "train_loss": 1.5}
    >>> curve_table([step], "train_loss").values.tolist()
    [['uniform', 0, 1, 1.5]]
    """
    curves: dict[tuple, list] = {}
    before: dict[tuple, list] = {}
    for event in events:
        if event["event"] == "plan":
            pair = (event["arm"], event["seed"])
            before[pair], curves[pair] = curves.get(pair, []), []
        elif event["event"] == "resumed":
            pair = (event["arm"], event["seed"])
            curves[pair] = [row for row in before.get(pair, []) if row[2] <= event["step"]]
        elif metric in event:
            pair = (event["arm"], event["seed"])
            curves.setdefault(pair, []).append((*pair, event["step"], event[metric]))
    rows = [row for curve in curves.values() for row in curve]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "value"])


def planned(events: Sequence[dict]) -> dict[str, int]:
    """Return the LoRA parameters of every arm whose ranks are settled.

    Examples
    --------
    >>> planned([{"event": "plan", "arm": "uniform", "budget": {"lora_parameters": 1024}}])
    {'uniform': 1024}
    """
    return {
        event["arm"]: event["budget"]["lora_parameters"]
        for event in events
        if event["event"] == "plan" and "lora_parameters" in event["budget"]
    }


def finished_results(events: Sequence[dict]) -> dict[str, dict]:
    """Collect what has been tested so far, in the shape of a verdict's ``arms``.

    Returns
    -------
    dict
        By arm: ``lora_parameters``, ``allocation_seconds`` (mean) and ``runs``, one a seed.

    Examples
    --------
    >>> result = {"event": "result", "arm": "uniform", "seed": 0, "lora_parameters": 1024,
    ...           "allocation_seconds": 0.0, "test_loss": 0.5}
    >>> finished_results([result, result])["uniform"]["runs"]
    [{'seed': 0, 'test_loss': 0.5}]
    """
    results = {(e["arm"], e["seed"]): e for e in events if e["event"] == "result"}
    arms: dict[str, dict] = {}
    for (arm, _), result in results.items():
        about = arms.setdefault(
            arm, {"lora_parameters": result["lora_parameters"], "seconds": [], "runs": []}
        )
        about["seconds"].append(result["allocation_seconds"])
        left_out = ("event", "time", "arm", "lora_parameters", "allocation_seconds")
        about["runs"].append({key: result[key] for key in result if key not in left_out})
    for about in arms.values():
        seconds = about.pop("seconds")
        about["allocation_seconds"] = sum(seconds) / len(seconds)
    return arms


@dataclass(frozen=True)
class Progress:
    """How far a comparison is.

    Parameters
    ----------
    now : str
        What is being done, for people.
    share : float
        Of all work, from 0 to 1; scoring once and training once count the same.
    seconds_left : float or None
        None as long as nothing has been measured.
    at_least : bool
        Whether a kind of work is still to come that has not been measured.
    """

    now: str
    share: float
    seconds_left: float | None
    at_least: bool


def progress_of(config: dict, events: Sequence[dict]) -> Progress:
    """Tell how far a comparison is, and how long it will go on at the pace so far.

    Parameters
    ----------
    config : dict
        The run's; empty as long as it has not begun.
    events : sequence of dict

    Returns
    -------
    Progress

    Examples
    --------
    >>> config = {"arms": ["uniform"], "seeds": [0], "settings": {"steps": 10}}
    >>> plan = {"event": "plan", "arm": "uniform", "seed": 0, "budget": {}, "time": 100.0}
    >>> steps = [{"event": "step", "arm": "uniform", "seed": 0, "step": step, "time": 101.0 + step}
    ...          for step in (1, 5)]
    >>> progress_of(config, [plan, *steps])
    Progress(now='uniform seed 0: step 5 of 10', share=0.5, seconds_left=5.0, at_least=False)
    """
    if not config or not events:
        return Progress("starting: this takes some seconds", 0.0, None, False)
    pairs = [(arm, seed) for seed in config["seeds"] for arm in config["arms"]]
    sources = list(dict.fromkeys((SCORED[a], s) for a, s in pairs if a in SCORED))
    scoring, training = dict.fromkeys(sources, 0.0), dict.fromkeys(pairs, 0.0)
    begun: dict[tuple, float] = {}
    first_steps: dict[tuple, tuple[float, int]] = {}
    module_seconds = step_seconds = None  # for all modules once, for one training with its test
    now, steps = "loading the task and the model", config["settings"]["steps"]
    for event in events:
        kind = event["event"]
        pair = (event.get("arm"), event.get("seed"))
        source = (SCORED.get(pair[0]), pair[1])
        name = f"{arm_label(pair[0])} seed {pair[1]}" if pair[0] else ""
        if kind == "started":
            now = "loading the task and the model"
        elif kind == "score" and source in scoring:
            first = begun.setdefault(("score", *source), event["time"])
            scoring[source] = event["done"] / event["total"]
            if event["done"] > 1:
                module_seconds = (event["time"] - first) / (event["done"] - 1) * event["total"]
            now = f"ranks of {name}: {event['done']} of {event['total']}"
        elif kind == "plan" and pair in training:
            begun["train", *pair] = event["time"]
            first_steps.pop(pair, None)
            training[pair] = 0.0
            scoring.update({source: 1.0} if source in scoring else {})
            now = f"{name}: ranks are settled, training begins"
        elif kind in ("step", "evaluation") and pair in training:
            training[pair] = event["step"] / steps
            # Loading the model comes before the first step, so the pace is measured from there.
            since, first_step = first_steps.setdefault(pair, (event["time"], event["step"]))
            if event["step"] > first_step:
                pace = (event["time"] - since) / (event["step"] - first_step)
                step_seconds = pace * steps
            now = f"{name}: step {event['step']} of {steps}"
            if event["step"] == steps:
                now = f"{name}: trained, now on the test texts"
        elif kind == "resumed" and pair in training:
            training[pair] = event["step"] / steps
            now = f"{name}: going on after step {event['step']}"
        elif kind == "arm-failed":
            training |= {other: 1.0 for other in training if other[0] == pair[0]}
            scoring.update({source: 1.0} if source in scoring else {})
            now = f"{name}: given up"
        elif kind == "result" and pair in training:
            training[pair] = 1.0
            scoring.update({source: 1.0} if source in scoring else {})
            if ("train", *pair) in begun:
                step_seconds = event["time"] - begun["train", *pair]
            now = f"{name}: done"
    open_scoring = sum(1 - share for share in scoring.values())
    open_training = sum(1 - share for share in training.values())
    left = open_scoring * (module_seconds or 0) + open_training * (step_seconds or 0)
    known = bool(module_seconds or step_seconds)
    unknown = (open_scoring and not module_seconds) or (open_training and not step_seconds)
    share = 1 - (open_scoring + open_training) / (len(scoring) + len(training))
    return Progress(now, share, left if known else None, bool(unknown))


def duration(seconds: float) -> str:
    """Write how long something takes, no finer than it can be foretold.

    Examples
    --------
    >>> duration(42), duration(130), duration(3000)
    ('40 s', '2 min 10 s', '50 min')
    """
    seconds = max(5, round(seconds / 5) * 5)
    if seconds < 60:
        return f"{seconds} s"
    if seconds >= 600 or seconds % 60 == 0:
        return f"{round(seconds / 60)} min"
    return f"{seconds // 60} min {seconds % 60} s"
