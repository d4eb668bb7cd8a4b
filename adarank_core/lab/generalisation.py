"""Study: LoRA on one module alone: does its score predict the loss that it reaches?"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from adarank_core.comparison.arms import check_arms
from adarank_core.comparison.planner import Planned, Planner
from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import spearman
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.lab.trainings import SHORT, losses, mean_and_error, needs_labels, seeds_of
from adarank_core.lab.which_score import scoring_arms
from adarank_core.numerals import signed
from adarank_core.ranks.allocation import allocate
from adarank_core.ranks.plans import one_alpha

__all__ = ["STUDY"]

OWN = "adarank"
RESAMPLED = 2000
MOST_RATIO = 4  # between the ranks of a small and a large module at equal parameters


def _units(bench: Bench) -> list[dict]:
    settings = bench.settings
    known = [arm.name for arm in scoring_arms()]
    check_arms(settings["scores"], [bench.seed])
    other = next((name for name in settings["scores"] if name not in known), None)
    if other is not None:
        raise AdaRankError(f"the arm {other!r} has no scores; give of {', '.join(known)}")
    needs_labels(bench)
    modules = bench.planner(settings["average_rank"]).plain.modules
    if settings["modules"] < 4 or len(modules) < 4:
        raise AdaRankError(
            f"a correlation over {min(settings['modules'], len(modules))} modules says nothing; "
            "give at least 4"
        )
    order = np.random.default_rng(bench.seed).permutation(len(modules))[: settings["modules"]]
    scores = [{"score": name} for name in settings["scores"]]
    return scores + [
        {"module": modules[at].name, "seed": seed} for seed in seeds_of(bench) for at in order
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    if "score" in unit:
        scores = yield from bench.arm_scores(unit["score"], bench.seed)
        return {"scores": {module.name: module.score for module in scores.modules}}
    yield 0.0
    planned = _alone(bench.planner(bench.settings["average_rank"]), unit["module"])
    about = next(
        m
        for m in bench.planner(bench.settings["average_rank"]).plain.modules
        if m.name == unit["module"]
    )
    found = bench.train(planned, unit["seed"])
    return None if found is None else {"layer": about.layer, "family": about.family, **found}


def _alone(planner: Planner, name: str) -> Planned:
    """Return how one module is trained alone: equal parameters and equal steps for all modules.

    With one alpha a module moves as far whatever its rank (its scaling times its rank).
    """
    costs = {m.name: m.in_features + m.out_features for m in planner.plain.modules}
    least = max(1, round(planner.average_rank))
    budget = least * min(max(costs.values()), MOST_RATIO * min(costs.values()))
    others = [other for other in costs if other != name]
    plan = allocate(planner.plain, parameters=max(budget, costs[name]), excluded=others)
    return Planned(replace(plan, alpha=one_alpha(plan.ranks, 2 * least)))


def _rows(measured: list[dict], _settings: dict) -> list[dict]:
    scores = {one["score"]: one["scores"] for one in measured if "score" in one}
    rows = []
    for name in dict.fromkeys(one["module"] for one in measured if "module" in one):
        of = [one for one in measured if one.get("module") == name and "loss" in one]
        if of:
            about = {key: of[0][key] for key in ("layer", "family", "lora_parameters")}
            found = mean_and_error([*losses(of).values()])
            told = {f"score of {score}": by_name[name] for score, by_name in scores.items()}
            rows.append({"table": "modules", "module": name, **about, **found, **told})
    if len(rows) >= 4:
        reached = [row["loss"] for row in rows]
        rows += [
            {"table": "correlations", "score": score, "modules": len(reached)}
            | _correlation([by_name[row["module"]] for row in rows], reached)
            for score, by_name in scores.items()
        ]
    return rows


def _correlation(values: list[float], reached: list[float]) -> dict:
    """Return Spearman's correlation with a loss, and what drawing the modules again gives of it."""
    pairs = np.array([values, reached])
    generator = np.random.default_rng(0)
    drawn = generator.integers(pairs.shape[1], size=(RESAMPLED, pairs.shape[1]))
    again = [float(spearman(*pairs[:, None, chosen])[0, 0]) for chosen in drawn]
    found = float(spearman([values], [reached])[0, 0])
    if np.isnan(found):
        return {"spearman": None, "ci_low": None, "ci_high": None}
    low, high = np.nanpercentile(again, [2.5, 97.5])
    return {"spearman": found, "ci_low": float(low), "ci_high": float(high)}


def _answer(rows: list[dict]) -> str:
    found = _correlations(rows)
    if not found:
        return "Nothing can be told: too many trainings failed, or all came to the same loss."
    own = found[0]
    predicts = "predicts" if own["ci_high"] < 0 else "cannot be shown to predict"
    return (
        f"The score of {own['score']} {predicts} a low loss of LoRA on one module alone: Spearman "
        f"{_figure(own)}."
    )


def _details(rows: list[dict]) -> str:
    found = _correlations(rows)
    if not found:
        return ""
    others = ", ".join(f"{row['score']} {_figure(row)}" for row in found[1:])
    told = f" Other scores: {others}." if others else ""
    start = f"Over {found[0]['modules']} modules, where −1 would be a perfect prediction; in "
    return f"{start}brackets, the 95% interval over modules.{told}"


def _correlations(rows: list[dict]) -> list[dict]:
    """Return those that have a value, AdaRank's own first."""
    found = [r for r in rows if r["table"] == "correlations" and r["spearman"] is not None]
    return sorted(found, key=lambda row: row["score"] != OWN)


def _figure(row: dict) -> str:
    ends = [signed(row[end], 2) for end in ("spearman", "ci_low", "ci_high")]
    return "{} ({} to {})".format(*ends)


STUDY = Study(
    name="generalisation",
    question="With LoRA on one module alone, does its score predict the loss that it reaches?",
    defaults={
        **SHORT,
        "seeds": 1,
        "modules": 12,
        "average_rank": 8.0,
        "scores": ["adarank", "gradient", "fisher", "lora-gradient", "plop", "weight-norm"],
    },
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
