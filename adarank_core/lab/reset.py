"""Study: the reset that never happened. What does noise that stays do to the published curves?"""

import math
from collections.abc import Iterator

import numpy as np

from adarank_core.data.texts import Texts, generic_texts
from adarank_core.errors import AdaRankError
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.numerals import with_error

__all__ = ["STUDY"]

#: What is drawn: the name of each curve, and how modules are scored for it.
CURVES = {
    "accumulating, forward": {"mode": "notebook-accumulating", "scan": "forward"},
    "accumulating, reversed": {"mode": "notebook-accumulating", "scan": "reversed"},
    "real reset": {"mode": "notebook", "scan": "forward"},
}


def _units(bench: Bench) -> list[dict]:
    from adarank_core.scoring.models import adaptable_modules

    if len({module.layer for module in adaptable_modules(_bundle_of(bench).model)}) < 2:
        raise AdaRankError(
            f"{bench.request.model!r} has one layer, and a curve over layers takes two or more"
        )
    return [
        {"curve": curve, "repeat": repeat}
        for repeat in range(bench.settings["repeats"])
        for curve in CURVES
    ]


def _bundle_of(bench: Bench):
    """Return the model, which must have the pooler that the notebook reads."""
    if getattr(bench.bundle.model.base_model, "pooler", None) is None:
        raise AdaRankError(
            f"the study 'reset' reads the pooled output, as the notebook did, but "
            f"{bench.request.model!r} has no pooler; give a model like BERT"
        )
    return bench.bundle


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    generic = generic_texts()
    texts = Texts(generic.source, generic.items[: bench.settings["texts"]])
    scores = yield from bench.score(
        texts,
        trials=bench.settings["trials"],
        seed=bench.seed + unit["repeat"],
        **CURVES[unit["curve"]],
    )
    about = ("name", "layer", "family", "score")
    return {"modules": [{key: getattr(one, key) for key in about} for one in scores.modules]}


def _rows(measured: list[dict], settings: dict) -> list[dict]:
    rows = []
    for curve in CURVES:
        repeats = [one["modules"] for one in measured if one["curve"] == curve]
        for modules in zip(*repeats, strict=True):
            values = np.array([module["score"] for module in modules])
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
            rows.append(
                {
                    "table": "curves",
                    "curve": curve,
                    "family": modules[0]["family"],
                    "layer": modules[0]["layer"],
                    "module": modules[0]["name"],
                    "score": float(values.mean()),
                    "standard_error": error and float(error),
                }
            )
        if repeats:
            rows.append({"table": "growth", "curve": curve, **_growth(repeats)})
    return rows


def _growth(repeats: list[list[dict]]) -> dict:
    """Say how many times the first layer's score the last one's is: the geometric mean of families.

    The error is of its logarithm, over repeats of the noise.
    """
    ratios = []
    for modules in repeats:
        families: dict[str, list[dict]] = {}
        for module in sorted(modules, key=lambda module: module["layer"]):
            families.setdefault(module["family"], []).append(module)
        ends = [(one[0]["score"], one[-1]["score"]) for one in families.values() if len(one) > 1]
        if not ends or not min(map(min, ends)):
            return {"last_over_first": None, "log_error": None, "repeats": len(repeats)}
        ratios.append(np.mean([math.log(last / first) for first, last in ends]))
    mean, error = float(np.mean(ratios)), None
    if len(ratios) > 1:
        error = float(np.std(ratios, ddof=1) / len(ratios) ** 0.5)
    return {"last_over_first": math.exp(mean), "log_error": error, "repeats": len(ratios)}


def _answer(rows: list[dict]) -> str:
    found = _growth_of(rows)
    if not found:
        return "Nothing can be told: there are layers whose score is 0."
    forward, back, _ = found
    return (
        f"Without a reset the last layer scores {_times(forward)} the first when layers are "
        f"scanned forward, {_times(back)} in reverse."
    )


def _details(rows: list[dict]) -> str:
    found = _growth_of(rows)
    real = f"it is {_times(found[-1])}" if found else ""
    return f"With a real reset, where the order changes nothing, {real}." if found else ""


def _growth_of(rows: list[dict]) -> list[dict]:
    """Return how the score grows on each of `CURVES`; nothing where one has no value."""
    by_curve = {row["curve"]: row for row in rows if row["table"] == "growth"}
    found = [by_curve[curve] for curve in CURVES]
    return [] if any(row["last_over_first"] is None for row in found) else found


def _times(row: dict) -> str:
    ratio, error = row["last_over_first"], row["log_error"]
    return f"{with_error(ratio, None if error is None else ratio * error, 1)} times"


STUDY = Study(
    name="reset",
    question="What did the reset that never happened do to the published curves over layers?",
    defaults={"trials": 5, "texts": 4, "repeats": 3},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
