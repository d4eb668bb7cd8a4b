"""Study: is AdaRank better when every arm has its own learning rate?

An arm's rate is chosen on the seeds that are then compared, which spares half of the trainings.
Where nothing differs, five seeds and four rates then find a difference between two arms in 2 of a
hundred cases if all rates are equally good, in 5 if one is for both, and in 7 if one is for one arm
and all are for the other. (To choose for each seed on the others would be worse: 13, where all are
good, as these choices hang together.) The figures are of ``benchmarks/false_positives.py``.
"""

from collections.abc import Iterator

from adarank_core.comparison.arms import check_arms
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
    train_arm,
)

__all__ = ["STUDY"]

BEST = "own best"  # each arm at the rate that is best for it

REFERENCE = "uniform"


def _units(bench: Bench) -> list[dict]:
    arms, rates = bench.settings["arms"], bench.settings["learning_rates"]
    check_arms(arms, [bench.seed])
    if REFERENCE not in arms or len(arms) < 2:
        raise AdaRankError(f"arms is {arms}; give {REFERENCE!r} and at least one other")
    if len(set(rates)) < 2:
        raise AdaRankError(f"learning_rates is {rates}; give at least two rates")
    needs_labels(bench)
    return [
        {"arm": arm, "learning_rate": rate, "seed": seed}
        for seed in seeds_of(bench)
        for rate in sorted(set(rates))
        for arm in dict.fromkeys(arms)
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    yield 0.0
    rank, rate = bench.settings["average_rank"], float(unit["learning_rate"])
    return train_arm(bench, unit["arm"], unit["seed"], rank, learning_rate=rate)


def _rows(measured: list[dict], _settings: dict) -> list[dict]:
    rows, best = [], {}
    rates = sorted({one["learning_rate"] for one in measured})
    for arm in dict.fromkeys(one["arm"] for one in measured):
        found = {rate: losses(measured, arm=arm, learning_rate=rate) for rate in rates}
        found = {rate: by_seed for rate, by_seed in found.items() if by_seed}
        means = {rate: mean_and_error([*by_seed.values()]) for rate, by_seed in found.items()}
        if not means:
            continue
        best[arm] = min(means, key=lambda rate: means[rate]["loss"])
        rows += [
            {"table": "losses", "arm": arm, "learning_rate": rate, **mean}
            | {"best": rate == best[arm]}
            for rate, mean in means.items()
        ]
    for arm in best:
        if REFERENCE not in best or arm == REFERENCE:
            continue
        for at, own in (("own best", True), ("lowest", False)):
            mine, theirs = (best[arm], best[REFERENCE]) if own else (rates[0], rates[0])
            pair = (
                losses(measured, arm=arm, learning_rate=mine),
                losses(measured, arm=REFERENCE, learning_rate=theirs),
            )
            if pair[0].keys() & pair[1].keys():
                rows.append(
                    {"table": "differences", "arm": arm, "at": at, "learning_rate": mine}
                    | {"at_edge": own and mine in (rates[0], rates[-1])}
                    | difference(*pair)
                )
    return rows


def _answer(rows: list[dict]) -> str:
    found = _differences(rows)
    if not found:
        return "Nothing can be told: too many trainings failed."
    row = found[0]
    where = "Each at its best learning rate" if row["at"] == BEST else "At the lowest rate of all"
    return f"{where}, {row['arm']}'s validation loss less uniform's is {told(row)}."


def _details(rows: list[dict]) -> str:
    parts = []
    for at, words in ((BEST, "each at its best"), ("lowest", "at the lowest rate of all")):
        others = [row for row in _differences(rows)[1:] if row["at"] == at]
        if others:
            each = ", ".join(f"{row['arm']} {told(row)}" for row in others)
            parts.append(f"{words}: {each}")
    said = [f"Other validation losses less uniform's, {'; '.join(parts)}."] if parts else []
    if any(row["at"] == BEST for row in _differences(rows)):
        said.append(
            "Rates are chosen on the seeds that are compared; a comparison with --learning-rates "
            "chooses them on other seeds."
        )
    if any(row["at_edge"] for row in _differences(rows)):
        said.append("A best rate is at the grid's end, so better ones may lie beyond.")
    return " ".join(said)


def _differences(rows: list[dict]) -> list[dict]:
    """Return all, AdaRank's own at its best rate first."""
    found = [row for row in rows if row["table"] == "differences"]
    return sorted(found, key=lambda row: (row["at"] != BEST, row["arm"] != "adarank"))


STUDY = Study(
    name="learning-rate",
    question="Is AdaRank better when every arm has the learning rate that is best for it?",
    defaults={
        **SHORT,
        "arms": ["uniform", "adarank", "scale-only"],
        "learning_rates": [1e-3, 5e-3, 2.5e-2],
        "average_rank": 2.0,
    },
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
