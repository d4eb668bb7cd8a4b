"""Train every arm on several tasks, each at its own learning rate, and judge: does AdaRank help?

Run it from the repository's root, as long and as often as you like::

    python benchmarks/evidence.py --output DIR --tasks docstrings,PATH --budget-minutes 60
    torchrun --nproc-per-node 2 benchmarks/evidence.py --output DIR --tasks docstrings,PATH

A task is a name or a path for `load_task`. Of its rows at most `ROWS` are taken, drawn once, and of
AG News' texts the beginnings (`TOKENS`), so that it takes no longer than the others.

It ends when all is done, or at the end of the training in which its time is over; a process that is
killed loses half a minute. The same line goes on. Any number of processes may work in one folder,
started together or not: each takes the next arm that is neither done nor another's, so that no
training is done twice. The first task is finished first.

Every arm's learning rate is searched on validation with seeds that are not tested; then the arm is
trained with its seeds (`Study.seeds`) and tested. Afterwards uniform, adarank and scale-only are
trained once more at one low rate, a fifth of uniform's best: what would a comparison have claimed
that never asked which rate is right? What is judged and against what stands in `PAIRS`, before
anything is trained. Only arms of which all seeds are there are judged: nobody looks in between.

Every process that ends writes ``benchmarks/results/TASK.json``: settings, machine, the arms' rates,
losses by seed, and the comparisons. `benchmarks/report.py` draws the README's table from these.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import load_task
from adarank_core.comparison.arms import file_name
from adarank_core.comparison.compare import Comparison
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.comparison.verdicts import METRICS
from adarank_core.data.task import SPLITS, Task
from adarank_core.data.tasks import task_names
from adarank_core.errors import AdaRankError
from adarank_core.files import write_json
from adarank_core.hardware import gpus
from adarank_core.kept import keep, kept
from adarank_core.training.objectives import objective_for
from adarank_core.training.settings import Settings
from adarank_core.training.text_results import read_text_results
from benchmarks.machine import about

FORMAT = "adarank-evidence/1"
RESULTS = Path(__file__).resolve().parent / "results"
ROWS = {"train": 2000, "validation": 500, "test": 1000}
TOKENS = {"ag_news_20k": 32}  # that are read of a text, where it is not the usual number
DIGITS = 5  # that are kept of a number
LOW = 5  # uniform's best rate is divided by it
POLL_SECONDS = 2.0

#: What is compared, fixed before anything is trained: an arm, and what it is held against.
PAIRS: tuple[tuple[str, str], ...] = (
    *((arm, "uniform") for arm in ("adarank", "scale-only", "permuted", "ramp-up", "head-only")),
    *((arm, "uniform") for arm in ("adarank-generic", "lora-gradient", "eva-ranks", "inverse")),
    *(("adarank", arm) for arm in ("permuted", "ramp-up", "scale-only")),
)


def settings_of(task: Task) -> Settings:
    """Return how long a task is trained on, and how much of its texts is read."""
    longest = TOKENS.get(task.name, Settings().max_length)
    return Settings(100, 16, max_length=longest, evaluations=1)


@dataclass(frozen=True)
class Study:
    """What is trained on a task.

    Parameters
    ----------
    settings : Settings
        Its learning rate is in the middle of the first three of ``"auto"``.
    seeds : mapping of str to int
        Arms, names or paths of ``ranks.json`` files, in the order in which they are trained, and
        how many seeds each gets, from 0 on.
    low : mapping of str to int
        Those at the low rate.
    learning_rates : sequence of float or "auto"
        See `adarank_core.compare`.
    model : str
    average_rank : float
    pairs : sequence of pairs of str
        What is compared; plans by the name of their file.
    script : str
        Which one asks for it.
    smallest_of_interest : float, optional
        By default a tenth of what uniform gains over head-only.
    """

    settings: Settings
    seeds: Mapping[str, int] = field(
        default_factory=lambda: {
            **dict.fromkeys(("uniform", "adarank", "scale-only", "permuted", "ramp-up"), 10),
            **dict.fromkeys(("head-only", "adarank-generic", "lora-gradient"), 5),
            **dict.fromkeys(("eva-ranks", "inverse"), 5),
        }
    )
    low: Mapping[str, int] = field(
        default_factory=lambda: dict.fromkeys(("uniform", "adarank", "scale-only"), 10)
    )
    learning_rates: Sequence[float] | str = "auto"
    model: str = "embedded"
    average_rank: float = 2
    pairs: Sequence[tuple[str, str]] = PAIRS
    script: str = "evidence.py"
    smallest_of_interest: float | None = None

    def to_dict(self) -> dict:
        """Return what all trainings have in common, for JSON."""
        common = ("model", "average_rank", "learning_rates")
        return {
            **{name: getattr(self, name) for name in common},
            "settings": self.settings.to_dict(),
        }


class Budget:
    """The time of a process: it is over at the end of a training, and not within one.

    Parameters
    ----------
    minutes : float or None
        None for as long as it takes.
    """

    def __init__(self, minutes: float | None = None):
        self.end = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        self.training = False

    def hear(self, event: dict) -> None:
        """Follow a comparison's events: where is a training, where is none?"""
        if event["event"] == "step":
            self.training = event["step"] < event["steps"]
        elif event["event"] in ("chosen", "result", "arm-failed"):
            self.training = False
            told = {key: event[key] for key in ("learning_rate", "test_loss") if key in event}
            print(time.strftime("%H:%M:%S"), event["arm"], event["seed"], event["event"], told)
            sys.stdout.flush()
        elif event["event"] == "notice":
            print(event["message"], flush=True)

    def is_over(self) -> bool:
        """Tell whether to stop now."""
        return not self.training and time.monotonic() >= self.end


@dataclass(frozen=True)
class Job:
    """One arm with all of its seeds on one task: what a process takes at a time.

    Parameters
    ----------
    study : Study
    task : Task
    arm : str
    low : bool
        Whether at the low rate.
    output : pathlib.Path
        The folder of all tasks.
    """

    study: Study
    task: Task
    arm: str
    low: bool
    output: Path

    @property
    def folder(self) -> Path:
        """Where its trainings lie, beside those of the other arms."""
        return self.output / self.task.name / ("low-rate" if self.low else "best-rate")

    @property
    def name(self) -> str:
        """What the arm is called: a plan by its file."""
        return Path(self.arm).stem if self.arm.endswith(".json") else self.arm

    @property
    def seeds(self) -> range:
        """What it is tested with."""
        return range((self.study.low if self.low else self.study.seeds)[self.arm])

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        return self.folder / f"{self.name}-{len(self.seeds)}-seeds.json"

    def result(self) -> dict | None:
        """Return what it came to; None while it is not done."""
        return kept(self.path, self._asked())

    def run(self, budget: Budget) -> bool:
        """Train, unless it is done or another process is at it; False when there is more to do."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=0):
                if self.result() is None:
                    result = self._at_low_rate(budget) if self.low else self._trained(None, budget)
                    if result is None:
                        return False
                    keep(self.path, result, self._asked())
        except Timeout:
            return False
        return True

    def texts(self, runs: Sequence[dict]) -> list[dict]:
        """Return what every test text came to, a dictionary for each run."""
        name = file_name(self.arm, self.folder)
        return [
            read_text_results(self.folder / "runs" / f"{name}-seed{r['seed']}", r) for r in runs
        ]

    def _at_low_rate(self, budget: Budget) -> dict | None:
        uniform = replace(self, arm="uniform", low=False).result()
        if uniform is None:
            return None  # another process is at it
        if "failed" in uniform:
            return {"failed": "uniform, whose rate is divided, failed", "machine": {}}
        return self._trained(float(f"{uniform['learning_rate'] / LOW:.{DIGITS}g}"), budget)

    def _asked(self) -> dict:
        rows = objective_for(self.task).sha256()
        return {**self.study.to_dict(), "task_sha256": rows, "seeds": list(self.seeds)}

    def _trained(self, rate: float | None, budget: Budget) -> dict | None:
        settings, rates = self.study.settings, self.study.learning_rates
        if rate is not None:
            settings, rates = replace(settings, learning_rate=rate), ()
        names = (self.study.model, self.task.name, (self.arm,))
        request = ComparisonRequest(
            *names, self.study.average_rank, self.seeds, settings=settings, learning_rates=rates
        )
        comparison = Comparison(
            request,
            self.task,
            output=self.folder,
            on_event=budget.hear,
            should_stop=budget.is_over,
        )
        if not (comparison.search() and comparison.train()):
            return None
        machine = about(comparison.planner.bundle.model.device, "peft")
        if self.arm in comparison.failed:
            return {"failed": comparison.failed[self.arm], "machine": machine}
        runs, chosen = comparison.runs[self.arm], comparison.chosen.get(self.arm)
        kept_of_run = (*METRICS, "train_seconds")
        rows = [{"seed": run.seed, **rounded(run.to_dict(), kept_of_run)} for run in runs]
        seconds = sum(run.allocation_seconds for run in runs) / len(runs)
        searched = {} if chosen is None else asdict(chosen)
        if chosen is not None:
            losses = chosen.validation_loss
            searched["validation_loss"] = {
                **dict.fromkeys(losses),
                **rounded(losses, tuple(losses)),
            }
        return {
            "learning_rate": settings.learning_rate,
            **searched,
            "lora_parameters": runs[0].lora_parameters,
            "allocation_seconds": round(seconds, 2),
            "runs": rows,
            "machine": machine,
        }


def rounded(values: Mapping, keys: Sequence[str]) -> dict:
    """Return some of a mapping's numbers with as many digits as are kept; without those not there.

    Examples
    --------
    >>> rounded({"loss": 0.123456789, "auc": None, "seed": 1}, ("loss", "auc"))
    {'loss': 0.12346}
    """
    found = {key: values.get(key) for key in keys}
    return {key: float(f"{v:.{DIGITS}g}") for key, v in found.items() if v is not None}


def drawn(task: Task) -> Task:
    """Return a task of at most `ROWS` rows a split, the same rows each time."""
    tables = {}
    for split in SPLITS:
        rows = getattr(task, split)
        chosen = np.random.default_rng(0).permutation(len(rows))[: ROWS[split]]
        tables[split] = rows.iloc[np.sort(chosen)].reset_index(drop=True)
    return replace(task, **tables)


def jobs_of(study: Study, task: Task, output: Path) -> list[Job]:
    """Return what there is to do on a task, in the order in which it is done."""
    best = [Job(study, task, arm, False, output) for arm in study.seeds]
    return best + [Job(study, task, arm, True, output) for arm in study.low]


def work(jobs: Sequence[Job], budget: Budget) -> bool:
    """Do what is left to do; False when the time was over before."""
    left = [job for job in jobs if job.result() is None]
    while left and not budget.is_over():
        for job in left:
            if budget.is_over():
                return False
            if job.run(budget):
                left.remove(job)
                break  # look again from the first on
        else:
            time.sleep(POLL_SECONDS)  # others are at all that is left
    return not left


# Judging ------------------------------------------------------------------------------------------


def results_of(jobs: Sequence[Job]) -> dict | None:
    """Put together and judge what is finished of a task's jobs; None while that is nothing."""
    study, task = jobs[0].study, jobs[0].task
    found = {(job.low, job.name): job.result() for job in jobs}
    done = {key: result for key, result in found.items() if result is not None}
    if not done:
        return None
    machines: list[dict] = []
    for result in done.values():
        machine = result.pop("machine")
        if machine not in machines:
            machines.append(machine)
    blocks, smallest = {}, study.smallest_of_interest
    place = task.name if task.name in task_names() else f"PATH/{task.name}"
    for name, low in (("best_rate", False), ("low_rate", True)):
        arms = {arm: result for (at, arm), result in done.items() if at == low}
        blocks[name] = {
            "arms": {arm: r for arm, r in arms.items() if "failed" not in r},
            "failed": {arm: r["failed"] for arm, r in arms.items() if "failed" in r},
            "missing": [job.name for job in jobs if job.low == low and job.name not in arms],
        }
        own = [job for job in jobs if job.low == low]
        blocks[name] |= judged(own, blocks[name]["arms"], smallest)
        smallest = blocks[name]["smallest_of_interest"]
    return {
        "format": FORMAT,
        "task": task.name,
        "labels": len(task.label_names),
        "rows": {split: len(getattr(task, split)) for split in SPLITS},
        "guessing": objective_for(task).guessing(),
        "task_sha256": objective_for(task).sha256(),
        **study.to_dict(),
        "command": f"python benchmarks/{study.script} --output DIR --tasks {place}",
        "machines": machines,
        **blocks,
    }


def judged(jobs: Sequence[Job], arms: Mapping[str, dict], smallest: float | None = None) -> dict:
    """Judge a block's pairs by the test loss, each on the seeds that both arms have.

    Holm's correction is over all of them. The smallest difference of interest is a tenth of what
    uniform gains over head-only, or is given.
    """
    if not arms:
        return {"smallest_of_interest": smallest, "comparisons": []}
    study, task = jobs[0].study, jobs[0].task
    texts = {job.name: job.texts(arms[job.name]["runs"]) for job in jobs if job.name in arms}
    declared = Declared(smallest_of_interest=smallest)
    verdict = verdict_of(task.name, study.model, dict(arms), {}, declared, texts, pairs=study.pairs)
    found = []
    for compared in verdict.primary:
        first, second = (
            {run["seed"] for run in arms[compared[key]]["runs"]} for key in ("arm", "against")
        )
        words = {key: value for key, value in compared.items() if isinstance(value, str)}
        numbers = rounded(compared, [key for key in compared if key not in words])
        found.append({**words, "seeds": len(first & second), **numbers})
    return {"smallest_of_interest": verdict.smallest_of_interest, "comparisons": found}


def judge(jobs: Sequence[Job], results: Path) -> None:
    """Write what is finished of a task into the folder of results."""
    found = results_of(jobs)
    if found is not None:
        results.mkdir(parents=True, exist_ok=True)
        write_json(results / f"{found['task']}.json", found)


# The command --------------------------------------------------------------------------------------


def stand_alone() -> None:
    """Forget that ``torchrun`` or ``accelerate`` started this process: it trains by itself.

    Trainer would join the others, and train one model with all of them. Each process sees one GPU.
    """
    names, place = gpus(), int(os.environ.get("LOCAL_RANK") or 0)
    if names and int(os.environ.get("WORLD_SIZE") or 1) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place % len(names)]
    theirs = ("RANK", "LOCAL_", "WORLD_SIZE", "MASTER_", "TORCHELASTIC_", "ACCELERATE_")
    for name in [name for name in os.environ if name.startswith(theirs)]:
        del os.environ[name]


def main(
    arguments: Sequence[str] | None = None,
    study_of: Callable[[Task, Path], Study] = lambda task, output: Study(settings_of(task)),
    prepared: Callable[[Task], Task] = drawn,
    results: Path = RESULTS,
    about: str = __doc__,
) -> int:
    """Train, judge, and say what is left.

    Parameters
    ----------
    arguments : sequence of str, optional
    study_of : callable
        Says what is trained on a prepared task, given the folder of all trainings.
    prepared : callable
        Makes of a task the one that is trained on.
    results : pathlib.Path
    about : str
        What the script says of itself.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="where trainings are kept")
    parser.add_argument("--tasks", default="docstrings", help="names and paths, with commas")
    parser.add_argument("--budget-minutes", type=float, help="then stop; 0 judges only")
    parser.add_argument("--results", type=Path, default=results)
    given = parser.parse_args(arguments)
    stand_alone()
    budget = Budget(given.budget_minutes)
    try:
        tasks = [prepared(load_task(name.strip())) for name in given.tasks.split(",")]
        of_tasks = [jobs_of(study_of(task, given.output), task, given.output) for task in tasks]
        done = work([job for jobs in of_tasks for job in jobs], budget)
        for jobs in of_tasks:
            judge(jobs, given.results)
    except AdaRankError as error:
        print(error, file=sys.stderr)
        return 2
    print("all is done" if done else "stopped; the same command goes on", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
