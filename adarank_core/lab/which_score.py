"""Study: how far do the importance scores agree?"""

from collections.abc import Iterator

from adarank_core.comparison.arms import ARMS, Arm
from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import agreement
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.numerals import with_error

__all__ = ["STUDY", "scoring_arms"]

OWN = "adarank"


def scoring_arms() -> list[Arm]:
    """Return the arms that have scores of their own; equal ones have no order to agree with.

    Examples
    --------
    >>> [arm.name for arm in scoring_arms()][:2]
    ['adarank', 'adarank-generic']
    """
    return [arm for arm in ARMS.values() if (arm.texts or arm.score) and arm.name != "uniform"]


def _units(bench: Bench) -> list[dict]:
    if bench.bundle.task_type != "SEQ_CLS":
        raise AdaRankError(
            "the study 'which-score' takes gradients of a label's loss, but the task "
            f"{bench.task.name!r} has no labels; give one with the columns text and label"
        )
    if bench.settings["repeats"] < 2:
        raise AdaRankError("repeats is 1; to tell scores from draws takes at least 2")
    return [
        {"score": arm.name, "repeat": repeat}
        for repeat in range(bench.settings["repeats"])
        for arm in scoring_arms()
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    scores = yield from bench.arm_scores(unit["score"], bench.seed + unit["repeat"])
    return {"scores": [module.score for module in scores.modules]}


def _rows(measured: list[dict], settings: dict) -> list[dict]:
    values: dict[str, list] = {}
    for one in measured:
        values.setdefault(one["score"], []).append(one["scores"])
    complete = min(map(len, values.values()), default=0)
    if complete < 2:
        return []
    rows = []
    for first in values:
        for second in values:
            mean, error = agreement(values[first][:complete], values[second][:complete])
            row = {"first": first, "second": second, "spearman": mean, "standard_error": error}
            rows.append({**row, "repeats": complete})
    return rows


def _answer(rows: list[dict]) -> str:
    own, others = _against_own(rows)
    if own is None:
        return "Nothing can be told: all modules score the same."
    # Ramps and chance look at no weight: they are in the matrix to be held against.
    of_others = [row for row in others if not _is_disagreement_or_free(row["second"])]
    nearest, furthest = of_others[0], of_others[-1]
    return (
        f"Of the scores that are no disagreement {nearest['second']} agrees with it most (Spearman "
        f"{_figure(nearest)}), {furthest['second']} least ({_figure(furthest)})."
    )


def _details(rows: list[dict]) -> str:
    own, others = _against_own(rows)
    if own is None:
        return ""
    told = ", ".join(f"{row['second']} {_figure(row)}" for row in others)
    return f"Disagreement agrees with itself on other texts by {_figure(own)}. With it: {told}."


def _against_own(rows: list[dict]) -> tuple[dict | None, list[dict]]:
    """Return how disagreement agrees with itself, and all else with it, the nearest first."""
    found = {
        row["second"]: row for row in rows if row["first"] == OWN and row["spearman"] is not None
    }
    own = found.pop(OWN, None)
    others = sorted(found.values(), key=lambda row: -row["spearman"])
    return (None, []) if own is None or len(others) < 2 else (own, others)


def _is_disagreement_or_free(arm: str) -> bool:
    return ARMS[arm].scores is not None or ARMS[arm].free


def _figure(row: dict) -> str:
    return with_error(row["spearman"], row["standard_error"], 1)


STUDY = Study(
    name="which-score",
    question="How far do the importance scores agree on which modules matter?",
    defaults={"repeats": 3, "average_rank": 8.0},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
