"""How far a comparison is by its recorded events: what is being done, its share, the time left."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

from adarank_core.comparison.arms import ARMS, arm_label
from adarank_core.comparison.learning_rates import SEARCH_SEEDS, first_rates
from adarank_core.runs.events import read_events
from adarank_core.runs.jobs import Run
from adarank_core.training.settings import Settings

__all__ = [
    "ComparisonWork",
    "RunProgress",
    "duration",
    "seconds_expected",
    "seconds_left",
    "study_progress",
]


@dataclass(frozen=True)
class RunProgress:
    """How far a comparison or a study is.

    Parameters
    ----------
    now : str
        What is being done, for people; of every seed at work, where several are.
    share : float
        Of all work, from 0 to 1; scoring once and training once count the same.
    seconds_left : float or None
        None as long as nothing has been measured.
    at_least : bool
        Whether a kind of work is still to come that has not been measured.
    examples_per_second, memory_mb : float or None
        Of all seeds at work together; None as long as no event says.
    """

    now: str
    share: float
    seconds_left: float | None
    at_least: bool
    examples_per_second: float | None = None
    memory_mb: float | None = None


class ComparisonWork:
    """All that a comparison has to do, and how much of it is done by the events added so far.

    Parameters
    ----------
    config : dict
        The run's.

    Examples
    --------
    >>> work = ComparisonWork({"arms": ["uniform"], "seeds": [0], "settings": {"steps": 10}})
    >>> for step in (1, 5):
    ...     about = {"arm": "uniform", "seed": 0, "step": step, "time": 101.0 + step}
    ...     work.add({"event": "step", **about})
    >>> at = work.progress()
    >>> at.now, at.share, at.seconds_left
    ('uniform seed 0: step 5 of 10', 0.5, 5.0)
    """

    def __init__(self, config: dict):
        arms, seeds, rates = config["arms"], config["seeds"], _rates(config)
        self.config, self.steps = config, config["settings"]["steps"]
        self.side_by_side = config.get("side_by_side", 1)
        # What there is to do → how much of it is done, from 0 to 1.
        self.training = {(arm, seed): 0.0 for seed in seeds for arm in arms}
        trials = product(arms, rates, SEARCH_SEEDS)
        self.searching = dict.fromkeys(trials, 0.0)
        scored = {arm: _scored_arm(arm) for arm in arms}
        all_seeds = [*seeds, *(SEARCH_SEEDS if rates else ())]
        self.scoring = {(scored[arm], at): 0.0 for at in all_seeds for arm in arms if scored[arm]}
        self.failed: set[str] = set()
        self.last: dict = {"event": "started"}
        self.latest: dict[int, dict] = {}  # the last event of every seed
        self.speed: dict[int, dict] = {}  # the last one of every seed that says its speed
        self.resumed: dict[tuple, int] = {}  # after which step a training went on
        self.begun: dict[tuple, tuple[float, int]] = {}  # when, and after which step
        self.scoring_seconds = self.training_seconds = None  # for one of each, with its test

    def add(self, event: dict) -> None:
        """Take up the next event."""
        kind, arm, seed = event["event"], event.get("arm"), event.get("seed")
        time = event.get("time", 0.0)
        self.last = event
        if arm is not None:
            self.latest[seed] = event
        key, part = (arm, seed), self.training
        if "search" in event:
            key, part = (arm, event["search"], seed), self.searching
            part.setdefault(key, 0.0)  # a grid that grows
        if kind in ("step", "evaluation"):
            if kind == "step":
                self.speed[seed] = event
            if key in part:
                part[key] = min(1.0, event["step"] / self.steps)
                # Loading the model comes before the first step, so the pace is measured from there.
                began = (time, event["step"])
                since, first = self.begun.setdefault(("steps", *key), began)
                if event["step"] > first:
                    pace = (time - since) / (event["step"] - first)
                    self.training_seconds = pace * self.steps
            return
        source = (_scored_arm(arm), seed)
        if kind == "started":
            self.latest.clear()
            self.begun.clear()
            self.failed.clear()
            self.resumed.clear()
        elif kind == "score" and source in self.scoring:
            began = (time, event["done"])
            since, first = self.begun.setdefault(("score", *source), began)
            self.scoring[source] = min(1.0, event["done"] / event["total"])
            if event["done"] > first:
                pace = (time - since) / (event["done"] - first)
                self.scoring_seconds = pace * event["total"]
        elif kind == "plan" and key in part:
            part[key] = 0.0
            self.begun[key] = (time, 0)
            self.begun.pop(("steps", *key), None)
            self._has_ranks(source)
        elif kind == "resumed" and key in part:
            part[key] = min(1.0, event["step"] / self.steps)
            self.resumed[key] = event["step"]
        elif kind == "chosen":
            self.searching |= {one: 1.0 for one in self.searching if one[0] == arm}
            for at in SEARCH_SEEDS:
                self._has_ranks((_scored_arm(arm), at))
        elif kind == "arm-failed":
            self.failed.add(arm)
            self.searching |= {one: 1.0 for one in self.searching if one[0] == arm}
            self.training |= {one: 1.0 for one in self.training if one[0] == arm}
            needed = {_scored_arm(one) for one in self.config["arms"] if one not in self.failed}
            self.scoring |= {one: 1.0 for one in self.scoring if one[0] not in needed}
        elif kind == "result" and key in part:
            part[key] = 1.0
            self._has_ranks(source)
            if key in self.begun:
                self.training_seconds = time - self.begun[key][0]

    def progress(self) -> RunProgress:
        """Return how far all is, and how long it will go on at the pace so far."""
        score, train = self.scoring_seconds or 0.0, self.training_seconds or 0.0
        open_of = dict.fromkeys((*self.config["seeds"], *SEARCH_SEEDS), 0.0)
        for part, seconds in ((self.scoring, score), (self.training, train)):
            for (_, seed), share in part.items():
                open_of[seed] += (1 - share) * seconds
        # The search comes first, then whole seeds, as many at a time as were asked for.
        left = sum(1 - share for share in self.searching.values()) * train
        left += sum(open_of.pop(seed) for seed in SEARCH_SEEDS)
        left += max(max(open_of.values()), sum(open_of.values()) / self.side_by_side)
        to_score = any(share < 1 for share in self.scoring.values())
        to_train = any(share < 1 for share in (*self.training.values(), *self.searching.values()))
        known = self.scoring_seconds is not None or self.training_seconds is not None
        unknown = (to_score and self.scoring_seconds is None) or (
            to_train and self.training_seconds is None
        )
        done = [*self.scoring.values(), *self.searching.values(), *self.training.values()]
        at_work = self._at_work()
        training = [e.get("seed") for e in at_work if e["event"] in ("step", "evaluation")]
        speeds = [self.speed[seed] for seed in training if seed in self.speed]
        return RunProgress(
            " · ".join(self._words(event) for event in at_work),
            sum(done) / len(done),
            left if known else None,
            unknown,
            _sum(speeds, "examples_per_second"),
            _sum(speeds, "memory_mb"),
        )

    def _has_ranks(self, source: tuple) -> None:
        if source in self.scoring:
            self.scoring[source] = 1.0

    def _at_work(self) -> list[dict]:
        """Return the last event of every seed at work, or the last of all."""
        if self.side_by_side == 1 or self.last.get("arm") is None:
            return [self.last]
        undone = {seed for (_, seed), share in self.training.items() if share < 1}
        at_work = [self.latest[seed] for seed in sorted(self.latest) if seed in undone]
        return at_work or [self.last]

    def _words(self, event: dict) -> str:
        kind, arm = event["event"], arm_label(event.get("arm") or "")
        name = f"{arm} seed {event.get('seed')}"
        if "search" in event and kind != "arm-failed":
            name = f"{arm}: trying learning rate {event['search']:g}"
            step = f", step {event['step']} of {self.steps}" if "step" in event else ""
            return name + step
        if kind in ("step", "evaluation"):
            if event["step"] == self.steps:
                return f"{name}: trained, now on the test texts"
            key = (event.get("arm"), event.get("seed"))
            went_on = f", went on after step {self.resumed[key]}" if key in self.resumed else ""
            return f"{name}: step {event['step']} of {self.steps}{went_on}"
        if kind == "score":
            return f"ranks of {name}: {event['done']} of {event['total']}"
        if kind == "chosen":
            return f"{arm}: learning rate {event['learning_rate']:g} is chosen"
        said = {
            "plan": "ranks are settled, training begins",
            "resumed": f"going on after step {event.get('step')}",
            "arm-failed": "given up",
            "result": "done",
        }
        return f"{name}: {said[kind]}" if kind in said else "loading the task and the model"


def _sum(events: list[dict], key: str) -> float | None:
    values = [event[key] for event in events if key in event]
    return sum(values) if values else None


def seconds_left(done: int, total: int, seconds: float) -> float | None:
    """Foretell how long work goes on at the pace so far; None before its first step.

    Examples
    --------
    >>> seconds_left(done=2, total=10, seconds=3.0)
    12.0
    """
    return seconds / done * (total - done) if done else None


def study_progress(events: Sequence[dict]) -> RunProgress:
    """Return how far a study is, by its events.

    What an earlier process measured is taken over in no time, so the time left is foretold from
    what the newest one has measured.

    Parameters
    ----------
    events : sequence of dict
        As `read_events` returns them.

    Returns
    -------
    RunProgress

    Examples
    --------
    >>> said = {"event": "study", "total": 4, "now": "noise"}
    >>> at = study_progress([{**said, "done": done, "time": time} for done, time in
    ...     ((0, 100.0), (1, 100.0), (1, 100.0), (2, 130.0))])
    >>> at.share, at.seconds_left
    (0.5, 60.0)
    """
    begun, last = None, None
    for event in events:
        if event["event"] == "started":
            begun = last = None
        elif event["event"] == "study":
            # A unit that is measured tells of its beginning too; one that is taken over does not.
            if begun is None and last is not None and event["done"] == last["done"]:
                begun = event
            last = event
    if last is None:
        return RunProgress("starting: this takes some seconds", 0.0, None, False)
    if not last["total"]:
        return RunProgress(last["now"], 0.0, None, False)
    done, total, left = min(last["done"], last["total"]), last["total"], None
    if begun is not None and "time" in begun and "time" in last:
        measured = done - begun["done"]
        left = seconds_left(measured, measured + total - done, last["time"] - begun["time"])
    return RunProgress(f"{done} of {total} measured: {last['now']}", done / total, left, False)


def _rates(config: dict) -> tuple[float, ...]:
    """Return the learning rates that are searched; of a grid that grows those it begins with."""
    around = config["settings"].get("learning_rate", Settings.learning_rate)
    return first_rates(config.get("learning_rates") or (), around)


def _scored_arm(arm: str | None) -> str | None:
    """Return whose scores an arm's ranks come from; None where nothing is scored for them."""
    return ARMS[arm].scores if arm in ARMS else None  # a file's ranks are there


def duration(seconds: float) -> str:
    """Write how long something takes, no finer than it can be foretold.

    Examples
    --------
    >>> duration(42), duration(130), duration(3000), duration(9000)
    ('40 s', '2 min 10 s', '50 min', '2 h 30 min')
    """
    seconds = max(5, round(seconds / 5) * 5)
    if seconds < 60:
        return f"{seconds} s"
    if seconds >= 2 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 600 * 10} min".removesuffix(" 0 min")
    if seconds >= 600 or seconds % 60 == 0:
        return f"{round(seconds / 60)} min"
    return f"{seconds // 60} min {seconds % 60} s"


def seconds_expected(config: dict, recent: Sequence[Run]) -> float | None:
    """Foretell how long a comparison takes, at the pace of an earlier one on this machine.

    Only steps grow with the number of steps. The rest of a training (its start, validation, which
    takes few texts, and the test at the end) is counted once a training, and loading once a run:
    in ten steps they are nearly all of the time, in a thousand hardly any.

    Parameters
    ----------
    config : dict
    recent : sequence of Run
        The newest first.

    Returns
    -------
    float or None
        None where no finished comparison had the same model, task and batch size, and two steps.
    """
    alike = ("model", "task")
    for run in recent:
        had = run.config
        if (
            run.state != "finished"
            or any(had.get(key) != config[key] for key in alike)
            or had.get("settings", {}).get("batch_size") != config["settings"]["batch_size"]
        ):
            continue
        took = _took(run.folder, _written(run.folder / "events.jsonl"))
        if took is None:
            continue
        trainings = len(config["seeds"]) + len(_rates(config)) * len(SEARCH_SEEDS)
        of_each = took.rest + config["settings"]["steps"] * took.pace
        training = len(config["arms"]) * trainings * of_each
        known = [took.ranks[arm] for arm in config["arms"] if arm in took.ranks]
        ranks = max(known if len(known) == len(config["arms"]) else took.ranks.values())
        # However many seeds are trained side by side, they share the cores as those did.
        beside = max(1, min(had.get("side_by_side", 1), len(had.get("seeds", [0]))))
        return took.loading + (training + len(config["seeds"]) * ranks) / beside
    return None


@dataclass(frozen=True)
class _Took:
    """What the parts of a comparison took, in seconds: a step, the rest of a training, …"""

    pace: float
    rest: float
    loading: float
    ranks: dict[str, float]  # by arm, for one seed


def _written(path: Path) -> tuple:
    """Return what changes when a file is written anew; it may be missing."""
    try:
        about = path.stat()
    except OSError:
        return ()
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=64)
def _took(folder: Path, written: tuple) -> _Took | None:
    """Read from a run's events what its parts took; None where no two steps were told."""
    loading = began = None
    before: dict[tuple, float] = {}  # when a training told something last
    planned: dict[tuple, float] = {}
    steps: list[float] = []
    wholes: list[tuple[float, int]] = []
    ranks: dict[str, list[float]] = {}
    for event in read_events(folder / "events.jsonl")[0]:
        kind, key, time = event["event"], (event.get("arm"), event.get("seed")), event.get("time")
        if time is None or "search" in event:
            continue
        if kind == "started":
            began = time
        elif kind in ("score", "plan") and loading is None and began is not None:
            loading = time - began
        if kind == "plan":
            planned[key] = time
            before.pop(key, None)
        elif kind == "resumed":  # nobody knows what it took before
            planned.pop(key, None)
        elif kind in ("step", "evaluation"):
            if kind == "step" and key in before:
                steps.append(time - before[key])
            before[key] = time
        elif kind == "result" and key in planned and "steps" in event:
            wholes.append((time - planned.pop(key), event["steps"]))
            ranks.setdefault(key[0], []).append(event["allocation_seconds"])
    if not steps or not wholes:
        return None
    pace = max(0.0, sum(steps) / len(steps))
    rest = sum(whole - pace * done for whole, done in wholes) / len(wholes)
    means = {arm: sum(found) / len(found) for arm, found in ranks.items()}
    return _Took(pace, max(0.0, rest), max(0.0, loading or 0.0), means)
