"""Study: does AdaRank help where there is little data?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from adarank_core.errors import AdaRankError
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.lab.trainings import (
    SHORT,
    difference,
    losses,
    mean_and_error,
    needs_labels,
    seeds_of,
    told,
)

__all__ = ["STUDY"]

ARMS = ("uniform", "adarank")


def _units(bench: Bench) -> list[dict]:
    needs_labels(bench)
    rows = len(bench.task.train)
    sizes = sorted({size for size in bench.settings["sizes"] if size < rows} | {rows})
    if len(sizes) < 2:
        raise AdaRankError(
            f"the task {bench.task.name!r} has {rows} training texts; give a smaller size among "
            "'sizes', so that there are two to compare"
        )
    if sizes[0] < 2 * len(bench.task.label_names):
        raise AdaRankError(
            f"sizes holds {sizes[0]}; give at least {2 * len(bench.task.label_names)}, two texts a "
            "class"
        )
    return [
        {"arm": arm, "size": size, "seed": seed}
        for seed in seeds_of(bench)
        for size in sizes
        for arm in ARMS
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    """Train on some of the rows, drawn with the seed; scores look at some of these alone."""
    yield 0.0
    train = bench.task.train
    drawn = np.random.default_rng(unit["seed"]).permutation(len(train))[: unit["size"]]
    task = replace(bench.task, train=train.iloc[np.sort(drawn)].reset_index(drop=True))
    planned = bench.planner(bench.settings["average_rank"], task).plan(unit["arm"], unit["seed"])
    return None if planned is None else bench.train(planned, unit["seed"], task)


def _rows(measured: list[dict], _settings: dict) -> list[dict]:
    rows = []
    for size in sorted({one["size"] for one in measured}):
        found = {arm: losses(measured, arm=arm, size=size) for arm in ARMS}
        rows += [
            {"table": "losses", "arm": arm, "size": size, **mean_and_error([*by_seed.values()])}
            for arm, by_seed in found.items()
            if by_seed
        ]
        if found["uniform"].keys() & found["adarank"].keys():
            compared = difference(found["adarank"], found["uniform"])
            rows.append({"table": "differences", "size": size, **compared})
    return rows


def _answer(rows: list[dict]) -> str:
    found = _differences(rows)
    if not found:
        return "Nothing can be told: too many trainings failed."
    texts = f"{found[0]['size']:,} texts"
    return f"With {texts} adarank's validation loss less uniform's is {told(found[0])}."


def _details(rows: list[dict]) -> str:
    each = [f"with {row['size']:,} texts {told(row)}" for row in _differences(rows)[1:]]
    return f"The same difference of validation losses {', '.join(each)}." if each else ""


def _differences(rows: list[dict]) -> list[dict]:
    """Return those of all sizes, the smallest first."""
    found = [row for row in rows if row["table"] == "differences"]
    return sorted(found, key=lambda row: row["size"])


STUDY = Study(
    name="data-size",
    question="Does AdaRank help where there is little data, as the paper reports?",
    defaults={**SHORT, "sizes": [100, 300, 1000], "average_rank": 2.0},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
