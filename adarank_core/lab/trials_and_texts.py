"""Study: for a fixed cost, how many trials and how many texts?"""

from collections.abc import Iterator
from itertools import combinations, product

from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import agreement, is_told_apart
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.numerals import with_error
from adarank_core.scoring.options import check_trials

__all__ = ["STUDY"]


def _units(bench: Bench) -> list[dict]:
    settings = bench.settings
    for trials in settings["trials"]:
        check_trials(trials)
    if settings["repeats"] < 2:
        raise AdaRankError("repeats is 1; to see whether scores are stable takes at least 2")
    if not settings["wanted"] <= 1:
        raise AdaRankError(f"wanted is {settings['wanted']}; a correlation is at most 1")
    bench.draws(max(settings["texts"]), settings["repeats"])
    return [
        {"trials": trials, "texts": texts, "repeat": repeat}
        for repeat in range(settings["repeats"])
        for trials, texts in product(settings["trials"], settings["texts"])
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    texts = bench.draws(unit["texts"], bench.settings["repeats"])[unit["repeat"]]
    options = {"trials": unit["trials"], "seed": bench.seed + unit["repeat"]}
    scores = yield from bench.score(texts, **options)
    return {"scores": [module.score for module in scores.modules]}


def _rows(measured: list[dict], settings: dict) -> list[dict]:
    cells: dict[tuple, list[dict]] = {}
    for one in measured:
        cells.setdefault((one["trials"], one["texts"]), []).append(one)
    rows = []
    for (trials, texts), found in cells.items():
        scores = [one["scores"] for one in found]
        mean, error = agreement(scores, scores) if len(scores) > 1 else (None, None)
        rows.append(
            {
                "trials": trials,
                "texts": texts,
                # The least: whatever else the machine did can only have made it more.
                "seconds": min(one["seconds"] for one in found),
                "spearman": mean,
                "standard_error": error,
                "draws": len(found),
                "wanted": settings["wanted"],
                "cheapest": False,
            }
        )
    stable = [row for row in rows if (row["spearman"] or 0) >= settings["wanted"]]
    if stable:
        min(stable, key=lambda row: row["seconds"])["cheapest"] = True
    return rows


def _answer(rows: list[dict]) -> str:
    known = _known(rows)
    if not known:
        return "Nothing can be told: all modules score the same."
    best = next((row for row in known if row["cheapest"]), None)
    if best is None:
        best = max(known, key=lambda row: row["spearman"])
        told = f"No cell reaches Spearman {best['wanted']:g} between two draws; the nearest is "
    else:
        told = f"The cheapest scoring with Spearman {best['wanted']:g} between two draws is "
    return f"{told}{_cell(best)} in {best['seconds']:.1f} seconds."


def _details(rows: list[dict]) -> str:
    known = _known(rows)
    return f"{_trade(known)}." if known else ""


def _known(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["spearman"] is not None]


def _trade(rows: list[dict]) -> str:
    """Say which is worth more, texts or trials, where their product is the same."""
    pairs = [
        (more, fewer)
        for more, fewer in combinations(sorted(rows, key=lambda row: -row["texts"]), 2)
        if more["trials"] * more["texts"] == fewer["trials"] * fewer["texts"]
    ]
    if not pairs:
        return "No two cells have the same number of noisy texts"
    # The pair that differs most in shape says most.
    more, fewer = max(pairs, key=lambda pair: pair[0]["texts"] / pair[1]["texts"])
    together = f"{_cell(more)} against {_cell(fewer)} at the same number of noisy texts"
    error = None
    if None not in (more["standard_error"], fewer["standard_error"]):
        error = (more["standard_error"] ** 2 + fewer["standard_error"] ** 2) ** 0.5
    difference = more["spearman"] - fewer["spearman"]
    if not is_told_apart(difference, error, min(more["draws"], fewer["draws"])):
        return f"Whether texts or trials are worth more cannot be told from {together}"
    return f"{'Texts' if difference > 0 else 'Trials'} are worth more: {together}"


def _cell(row: dict) -> str:
    texts = "1 text" if row["texts"] == 1 else f"{row['texts']} texts"
    figure = with_error(row["spearman"], row["standard_error"], 1)
    return f"{row['trials']} trials of {texts} ({figure})"


STUDY = Study(
    name="trials-and-texts",
    question="For a fixed cost, how many trials and how many texts?",
    defaults={"trials": [2, 4, 8, 16], "texts": [1, 4, 16], "repeats": 4, "wanted": 0.95},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
