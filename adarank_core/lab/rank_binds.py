"""Study: does rank bind at all, or would any rank do?"""

from collections.abc import Iterator
from dataclasses import replace

from adarank_core.errors import AdaRankError, quoted
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.lab.trainings import (
    SHORT,
    difference,
    is_told,
    losses,
    mean_and_error,
    seeds_of,
    told,
)
from adarank_core.ranks.allocation import allocate
from adarank_core.ranks.plans import one_alpha

__all__ = ["STUDY"]

ARMS = ("uniform", "adarank")
HEAD = "head-only"


def _units(bench: Bench) -> list[dict]:
    ranks = sorted(set(bench.settings["ranks"]))
    if len(ranks) < 2:
        raise AdaRankError(f"ranks is {quoted(ranks)}; give at least two, such as [1, 4, 32]")
    plain = bench.planner(ranks[0]).plain  # refuses a task without labels
    for rank in ranks:
        allocate(plain, rank, budget_by="parameters")  # refuses what no module can have
    # Of an average rank of 1, the least of a module, AdaRank has nothing to give: it is uniform.
    arms = [(arm, rank) for rank in ranks for arm in ARMS if rank > 1 or arm == "uniform"]
    return [
        {"arm": arm, "average_rank": rank, "seed": seed}
        for seed in seeds_of(bench)
        for arm, rank in [(HEAD, ranks[0]), *arms]
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    """Train with one alpha for all ranks: else a rank's losses would be those of its step size."""
    yield 0.0
    planned = bench.planner(unit["average_rank"]).plan(unit["arm"], unit["seed"])
    if planned is None:
        return None
    if planned.plan is not None:
        alpha = one_alpha(planned.plan.ranks, bench.settings["alpha"])
        planned = replace(planned, plan=replace(planned.plan, alpha=alpha))
    return bench.train(planned, unit["seed"])


def _rows(measured: list[dict], _settings: dict) -> list[dict]:
    rows, ranks = [], sorted({one["average_rank"] for one in measured})
    for arm in (HEAD, *ARMS):
        for rank in ranks:
            of = [one for one in measured if (one["arm"], one["average_rank"]) == (arm, rank)]
            if by_seed := losses(of):
                parameters = next(one["lora_parameters"] for one in of if "loss" in one)
                about = {"arm": arm, "average_rank": 0 if arm == HEAD else rank}
                rows.append(
                    {"table": "losses", **about, "lora_parameters": parameters}
                    | mean_and_error([*by_seed.values()])
                )
    least = (
        {arm: losses(measured, arm=arm, average_rank=ranks[0]) for arm in (HEAD, "uniform")}
        if ranks
        else {}
    )
    for rank in ranks:
        uniform, adarank = (losses(measured, arm=arm, average_rank=rank) for arm in ARMS)
        pairs = {
            "adarank against uniform": (adarank, uniform),
            "uniform against the least rank": (uniform, least["uniform"]),
            "uniform against the head alone": (uniform, least[HEAD]),
        }
        rows += [
            {"table": "differences", "what": what, "average_rank": rank, **difference(*pair)}
            for what, pair in pairs.items()
            if pair[0].keys() & pair[1].keys() and pair[0] is not pair[1] and pair[0] != pair[1]
        ]
    return rows


def _answer(rows: list[dict]) -> str:
    against_least = _differences(rows, "uniform against the least rank")
    if not against_least:
        return "Nothing can be told: too many trainings failed."
    most = against_least[-1]
    binds = is_told(most) and most["difference"] < 0
    start = "Rank binds" if binds else "That rank binds cannot be shown"
    least = min(row["average_rank"] for row in rows if row["average_rank"])
    return (
        f"{start}: validation loss at uniform rank {most['average_rank']} less rank {least}'s is "
        f"{told(most)}."
    )


def _details(rows: list[dict]) -> str:
    differences = _differences(rows, "adarank against uniform")
    each = ", ".join(f"rank {row['average_rank']} {told(row)}" for row in differences)
    own = f" adarank's validation loss less uniform's at equal parameters: {each}." if each else ""
    return f"At one learning rate and one alpha for all, so that all take equal steps.{own}"


def _differences(rows: list[dict], what: str) -> list[dict]:
    return [row for row in rows if row["table"] == "differences" and row["what"] == what]


STUDY = Study(
    name="rank-binds",
    question="Does rank bind: would twice the rank, or a thirtieth of it, do as well?",
    defaults={**SHORT, "ranks": [1, 4, 32], "alpha": 4.0},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
