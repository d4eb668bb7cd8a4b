"""Study: do ranks from one task serve another?"""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from adarank_core.comparison.planner import Planned
from adarank_core.data.task import SPLITS, Task
from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import spearman
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.lab.trainings import (
    SHORT,
    difference,
    losses,
    mean_and_error,
    seeds_of,
    told,
)
from adarank_core.numerals import signed

__all__ = ["STUDY"]

HALVES = "halves"
OWN, OTHER, UNIFORM = "own task", "other task", "uniform"


def _tasks(bench: Bench) -> tuple[Task, Task]:
    """Return two tasks: the given one and another, or the two halves of its classes."""
    from adarank_core.data.tasks import load_task

    if bench.settings["other_task"] != HALVES:
        return bench.task, load_task(bench.settings["other_task"])
    names = bench.task.label_names
    middle = len(names) // 2
    if middle < 2:
        raise AdaRankError(
            f"the task {bench.task.name!r} has {len(names)} classes, too few for two halves; give "
            "another with --set other_task=NAME"
        )
    return _part(bench.task, 0, middle), _part(bench.task, middle, len(names))


def _part(task: Task, first: int, end: int) -> Task:
    """Return a task with some of the classes."""

    def some(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["label"].between(first, end - 1)]
        return rows.assign(label=rows["label"] - first).reset_index(drop=True)

    name = f"{task.name}, classes {first + 1} to {end}"
    parts = {split: some(getattr(task, split)) for split in SPLITS}
    return replace(task, name=name, label_names=task.label_names[first:end], **parts)


def _units(bench: Bench) -> list[dict]:
    tasks = [task.name for task in _tasks(bench)]
    if len(set(tasks)) < 2:
        raise AdaRankError(f"other_task is {tasks[0]!r}, the same task; give another")
    bench.planner(bench.settings["average_rank"])  # refuses a model or a rank
    return [
        {"task": task, "ranks": ranks, "seed": seed}
        for seed in seeds_of(bench)
        for task in tasks
        for ranks in (UNIFORM, OWN, OTHER)
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    """Train a task; the ranks come from its own texts or the other one's, scored with its head."""
    yield 0.0
    one, other = _tasks(bench)
    task, source = (one, other) if unit["task"] == one.name else (other, one)
    if unit["ranks"] == OTHER:
        planner = bench.planner(bench.settings["average_rank"], source)
    else:
        planner = bench.planner(bench.settings["average_rank"], task)
    planned = planner.plan("uniform" if unit["ranks"] == UNIFORM else "adarank", unit["seed"])
    if planned is None:
        return None
    found = bench.train(Planned(planned.plan), unit["seed"], task)
    return None if found is None else {**found, "given": planned.plan.ranks}


def _rows(measured: list[dict], _settings: dict) -> list[dict]:
    rows, names = [], list(dict.fromkeys(one["task"] for one in measured))
    ranks = {
        (one["task"], one["seed"]): list(one["given"].values())
        for one in measured
        if one["ranks"] == OWN and "given" in one
    }
    keys = sorted(ranks)
    table = spearman([ranks[key] for key in keys], [ranks[key] for key in keys]) if keys else []
    for first in names:
        for second in names:
            pairs = [
                float(table[i, j])
                for i, one in enumerate(keys)
                for j, other in enumerate(keys)
                if (one[0], other[0]) == (first, second) and i != j
            ]
            if pairs:
                mean = sum(pairs) / len(pairs)
                row = {"table": "agreement", "first": first, "second": second}
                rows.append({**row, "spearman": mean, "pairs": len(pairs)})
    for name in names:
        found = {kind: losses(measured, task=name, ranks=kind) for kind in (UNIFORM, OWN, OTHER)}
        rows += [
            {"table": "losses", "task": name, "ranks": kind, **mean_and_error([*by_seed.values()])}
            for kind, by_seed in found.items()
            if by_seed
        ]
        rows += [
            {"table": "differences", "task": name, "ranks": kind, "against": against}
            | difference(found[kind], found[against])
            for kind, against in ((OTHER, OWN), (OWN, UNIFORM))
            if found[kind].keys() & found[against].keys()
        ]
    return rows


def _answer(rows: list[dict]) -> str:
    compared = _against_own(rows)
    if not compared:
        return "Nothing can be told: too many trainings failed."
    each = ", ".join(f"{signed(row['difference'])} on {row['task']}" for row in compared)
    return f"With the other task's ranks validation loss less that with its own is {each}."


def _details(rows: list[dict]) -> str:
    compared = _against_own(rows)
    across = [r for r in rows if r["table"] == "agreement" and r["first"] < r["second"]]
    within = [r for r in rows if r["table"] == "agreement" and r["first"] == r["second"]]
    said = [f"Of {row['task']}, {told(row)}." for row in compared]
    if compared and across[0]["spearman"] is not None:
        agree = f"Ranks of one task and of the other agree by Spearman {across[0]['spearman']:.2f}"
        if within:
            same = sum(row["spearman"] for row in within) / len(within)
            agree += f" (of one task with itself, {same:.2f})"
        said.append(f"{agree}.")
    return " ".join(said)


def _against_own(rows: list[dict]) -> list[dict]:
    return [r for r in rows if r["table"] == "differences" and r["against"] == OWN]


STUDY = Study(
    name="transfer",
    question="Do ranks from one task serve another as well as its own?",
    defaults={**SHORT, "average_rank": 2.0, "other_task": HALVES},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
