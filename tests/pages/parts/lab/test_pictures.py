"""Every study is drawn from the rows that it makes itself, and from any part of them."""

import doctest
import itertools
import random
from functools import cache

import pytest

from adarank_core.lab.studies import STUDIES
from adarank_core.lab.which_score import scoring_arms
from pages.parts.lab import figures, pictures, score_pictures

MODULES = [f"layer.{layer}.{family}" for layer in range(3) for family in ("query", "value")]


def scores(draw):
    return [draw.uniform(1, 2) for _ in MODULES]


def trained(draw, **unit):
    return {**unit, "loss": draw.uniform(0.5, 1), "lora_parameters": 1000, "seconds": 1.0}


def of_scoring(name, draw):
    """Return what a study measured that only scores, and its settings."""
    settings = STUDIES[name].defaults
    if name == "trials-and-texts":
        units = [(t, n, r) for r in range(2) for t in settings["trials"] for n in settings["texts"]]
        return [
            {"trials": t, "texts": n, "repeat": r, "scores": scores(draw), "seconds": 1.0 * t * n}
            for t, n, r in units
        ]
    if name == "noise":
        cells = [("linearised", 0.0), *((k, s) for k in settings["kinds"] for s in (0.1, 1.0))]
        of = lambda scale: dict(zip(MODULES, [(scale or 1) * x for x in scores(draw)], strict=True))  # noqa: E731
        return [
            {"kind": kind, "scale": scale, "repeat": r, "scores": of(scale), "seconds": 1.0}
            | ({"deviations": dict.fromkeys(MODULES, 0.5)} if not scale else {})
            for r in range(3)
            for kind, scale in cells
        ]
    if name == "reset":
        curves = ("accumulating, forward", "accumulating, reversed", "real reset")
        about = [{"name": m, "layer": at // 2, "family": m[8:]} for at, m in enumerate(MODULES)]
        return [
            {"curve": curve, "repeat": r, "seconds": 1.0}
            | {"modules": [{**one, "score": draw.uniform(1, 2)} for one in about]}
            for r in range(2)
            for curve in curves
        ]
    if name == "which-score":
        return [
            {"score": arm.name, "repeat": r, "scores": scores(draw), "seconds": 1.0}
            for r in range(3)
            for arm in scoring_arms()
        ]
    return [
        {"source": source, "repeat": r, "seconds": 1.0, "scores": _file(scores(draw))}
        for r in range(3)
        for source in ("task", "generic", "random tokens")
    ]


def _file(values):
    from adarank_core.scoring.scores import ModuleScore, Scores

    modules = [
        ModuleScore(name, at // 2, name[8:], 64, 64, values[at], 0.1)
        for at, name in enumerate(MODULES)
    ]
    return Scores("tiny", "paper", "fast", 1.0, 0, {}, tuple(modules)).to_dict()


def of_training(name, draw):
    """Return what a study measured that trains."""
    seeds, settings = (0, 1), STUDIES[name].defaults
    if name == "learning-rate":
        units = [
            {"arm": arm, "learning_rate": rate}
            for arm in settings["arms"]
            for rate in settings["learning_rates"]
        ]
    elif name == "rank-binds":
        arms = [("head-only", 1), *((a, r) for r in (1, 4) for a in ("uniform", "adarank"))]
        units = [{"arm": arm, "average_rank": rank} for arm, rank in arms]
    elif name == "data-size":
        units = [{"arm": a, "size": size} for size in (100, 300) for a in ("uniform", "adarank")]
    elif name == "transfer":
        units = [
            {"task": task, "ranks": ranks, "given": dict(zip(MODULES, scores(draw), strict=True))}
            for task in ("one", "other")
            for ranks in ("uniform", "own task", "other task")
        ]
    else:
        units = [
            {"module": name, "layer": at // 2, "family": name[8:]}
            for at, name in enumerate(MODULES)
        ]
    found = [trained(draw, seed=seed, **unit) for seed in seeds for unit in units]
    if name == "generalisation":
        by_name = lambda: dict(zip(MODULES, scores(draw), strict=True))  # noqa: E731
        return [
            {"score": s, "scores": by_name(), "seconds": 1.0} for s in settings["scores"][:2]
        ] + found
    return found


def measured(name):
    """Return what a study measured, made up."""
    draw = random.Random(0)
    scoring = ("trials-and-texts", "text-source", "noise", "reset", "which-score")
    return (of_scoring if name in scoring else of_training)(name, draw)


@cache
def rows_of(name, some=None):
    """Return a study's rows of all that is measured, or of the first few."""
    study = STUDIES[name]
    return study.rows(measured(name)[:some], study.settings({}))


def points(figure):
    """Return how many values a figure shows."""
    count = 0
    for trace in figure.data:
        values = [cell for row in trace.z for cell in row] if trace.type == "heatmap" else trace.y
        count += sum(value is not None for value in values)
    return count


@pytest.mark.parametrize("module", [figures, pictures, score_pictures])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


#: How many values each study's pictures show of what is made up above.
SHOWN = {
    "trials-and-texts": [12],  # 4 x 3 cells
    "text-source": [9, 18],
    "noise": [24],
    "transfer": [4, 6],
    "learning-rate": [9],
    "rank-binds": [6],
    "data-size": [4],
    "generalisation": [12],
    "reset": [18],
    "which-score": [len(scoring_arms()) ** 2],
}


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_is_drawn_from_its_own_rows(name):
    rows = rows_of(name)
    if name == "trials-and-texts":  # random scores agree with nothing
        rows = [*rows[:3], {**rows[3], "cheapest": True}, *rows[4:]]
    drawn = pictures.pictures(name, rows)
    assert [points(picture.figure) for picture in drawn] == SHOWN[name]
    for picture in drawn:
        assert picture.alt
        text = picture.figure.to_json()
        assert "nan" not in text.lower().replace("nanoseconds", "")


@pytest.mark.parametrize("name", list(STUDIES))
def test_rows_of_half_a_study_are_drawn_too(name):
    for some in (1, 3, 7):
        for picture in pictures.pictures(name, rows_of(name, some)):
            picture.figure.to_json()


@pytest.mark.parametrize("name", list(STUDIES))
def test_rows_that_are_damaged_are_passed_over(name):
    rows = rows_of(name)
    for key in {key for row in rows for key in row} - {"table"}:
        wrong = itertools.cycle((None, "x", True, [1], -1))
        pictures.pictures(name, [{**row, key: next(wrong)} for row in rows])
        pictures.pictures(name, [{k: v for k, v in row.items() if k != key} for row in rows])
    assert pictures.pictures(name, [{"table": 1}, {}]) == []


def test_the_cheapest_stable_cell_is_outlined():
    rows = rows_of("trials-and-texts")
    (picture,) = pictures.pictures("trials-and-texts", [{**rows[4], "cheapest": True}, *rows[:4]])
    (outline,) = picture.figure.layout.shapes
    middle = (outline.x0 + outline.x1) / 2, (outline.y0 + outline.y1) / 2
    labels = picture.figure.layout.xaxis.ticktext, picture.figure.layout.yaxis.ticktext
    found = tuple(names[int(at)] for names, at in zip(labels, middle, strict=True))
    assert found == (str(rows[4]["texts"]), str(rows[4]["trials"]))
    assert 0.9 < outline.x1 - outline.x0 < 1


def test_the_best_learning_rate_is_a_diamond():
    rows = rows_of("learning-rate")
    (picture,) = pictures.pictures("learning-rate", rows)
    best = {(row["arm"], row["learning_rate"]) for row in rows if row.get("best")}
    marked = {
        (trace.name, x)
        for trace in picture.figure.data
        for x, symbol in zip(trace.x, trace.marker.symbol, strict=True)
        if symbol == "diamond"
    }
    assert marked == best and len(best) == 3
    assert picture.figure.layout.xaxis.type == "log"
