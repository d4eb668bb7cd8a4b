"""Study: does it matter on which text modules are scored?"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from adarank_core.data.texts import Texts, generic_texts
from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import (
    agreement,
    is_told_apart,
    jackknife,
    mean_of,
    mean_of_unlike,
    spearman,
)
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.numerals import with_error
from adarank_core.ranks.allocation import allocate
from adarank_core.scoring.scores import Scores

__all__ = ["STUDY"]

TEXTS = 16
TASK = "task"

# Written for this project, as the generic sentences are.
GERMAN = (
    "Der Zug fuhr zwei Minuten zu früh ab, und die Hälfte der Fahrgäste stand noch am Bahnsteig.",
    "Weißt du, wo hier die nächste Bücherei ist?",
    "Brot geht auf, weil Hefe Zucker in Kohlendioxid verwandelt.",
    "Sie schloss das Fenster, setzte sich und öffnete den Brief, der eine Woche gewartet hatte.",
    "Der Ausschuss legt seinen Bericht über die Wasserpreise im nächsten Monat vor.",
    "Noch nie hat mir ein Film so wenig gefallen.",
    "Ein Dreieck mit zwei gleichen Seiten hat auch zwei gleiche Winkel.",
    "Gieß am Dienstag bitte die Blumen und leg den Schlüssel unter den blauen Topf.",
    "In jenem Winter war der Fluss so fest gefroren, dass Wagen darüber fuhren.",
    "Nach dem Streik fielen die Aktien der Fluggesellschaft um vier Prozent.",
    "Wie viele Monde hat der Mars?",
    "Der Torwart hielt den letzten Elfmeter, und die ganze Stadt feierte bis zum Morgen.",
    "Was für ein schöner Abend das war!",
    "Die älteste Karte der Stadt liegt im Museum in einem dunklen, trockenen Raum.",
    "Meldet der Fühler zweimal einen Fehler, starte die Pumpe neu und schreib die Zeit auf.",
    "Alte Lieder kommen weiter herum als die Menschen, die sie zuerst gesungen haben.",
)
REVIEWS = (
    "The food was cold when it came and nobody said sorry.",
    "Lovely small hotel, quiet rooms, and a breakfast worth getting up for.",
    "I returned the headphones after a week because the left side kept cutting out.",
    "A slow first half, but the ending alone is worth the ticket.",
    "Best haircut in years, and she listened to what I wanted.",
    "The app crashes whenever I try to pay, so I gave up.",
    "Our guide knew every stone of the old town and made the children laugh.",
    "Too expensive for what it is; the soup tasted of nothing but salt.",
    "The boots kept my feet dry through four days of rain.",
    "We waited an hour for a table that we had booked weeks before.",
    "This novel has more twists than sense, yet I could not put it down.",
    "The screen is bright, the battery lasts two days, and it costs half as much as mine.",
    "Rude staff, dirty carpet, and music until three in the morning.",
    "My daughter has slept through every night since we bought this mattress.",
    "They lost my parcel twice and still asked me for a good rating.",
    "An honest plumber who came on time and charged what he had said.",
)
OWN = "reviews"  # the other task that is always at hand


def _units(bench: Bench) -> list[dict]:
    settings = bench.settings
    if settings["repeats"] < 2:
        raise AdaRankError("repeats is 1; to tell sources from draws takes at least 2")
    # Draws that overlap would agree because they share texts.
    bench.draws(TEXTS, settings["repeats"])
    sources = [TASK, "generic", "sentence", "another task", "another language", "random tokens"]
    return [
        {"source": source, "repeat": repeat}
        for repeat in range(settings["repeats"])
        for source in sources
    ]


def _texts(bench: Bench, source: str, repeat: int) -> Texts:
    """Return the texts of a source; a repeat has a draw of its own, where there is one to make."""
    of_task = bench.draws(TEXTS, bench.settings["repeats"])[repeat]
    if source == TASK:
        return of_task
    if source == "generic":
        return generic_texts()
    if source == "sentence":
        return Texts("sentence", of_task.items[:1])
    if source == "another language":
        return Texts("German", GERMAN)
    if source == "another task":
        return _of_another_task(bench, repeat)
    return _random_tokens(bench, of_task, repeat)


def _of_another_task(bench: Bench, repeat: int) -> Texts:
    from adarank_core.data.tasks import load_task

    name = bench.settings["other_task"]
    if name == OWN:
        return Texts(OWN, REVIEWS)
    return load_task(name).sample_texts(TEXTS, seed=bench.seed + repeat)


def _random_tokens(bench: Bench, like: Texts, repeat: int) -> Texts:
    """Draw tokens from the vocabulary, as many a text as the task's texts have."""
    from adarank_core.scoring.encoding import tokenised

    tokenizer = bench.bundle.tokenizer
    words = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    draw = np.random.default_rng([bench.seed, repeat])
    special = tokenizer.num_special_tokens_to_add()
    lengths = [len(row) - special for row in tokenised(bench.bundle, like.items, 128)["input_ids"]]
    items = []
    while len(items) < len(lengths):
        text = tokenizer.decode(draw.choice(words, max(1, lengths[len(items)])))
        if text.strip():  # some tokens are blanks
            items.append(text)
    return Texts("random tokens", tuple(items))


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    try:
        texts = _texts(bench, unit["source"], unit["repeat"])
        scores = yield from bench.score(texts, seed=bench.seed + unit["repeat"])
    except AdaRankError as error:  # such as a language of which the tokenizer knows no word
        if unit["source"] == TASK:
            raise
        return {"left_out": str(error)}
    return {"scores": scores.to_dict()}


def _rows(measured: list[dict], settings: dict) -> list[dict]:
    rows = [
        {"table": "left out", "source": one["source"], "why": one["left_out"]}
        for one in measured
        if "left_out" in one and one["repeat"] == 0
    ]
    scores: dict[str, list[Scores]] = {}
    for one in measured:
        if "scores" in one:
            scores.setdefault(one["source"], []).append(Scores.from_dict(one["scores"]))
    complete = min(map(len, scores.values()), default=0)
    values = {
        source: [[module.score for module in one.modules] for one in found[:complete]]
        for source, found in scores.items()
    }
    if complete >= 2:
        rows += [_agreement_row(values, first, second) for first in values for second in values]
    for source, found in scores.items():
        mean = mean_of(found)
        ranks = allocate(mean, settings["average_rank"]).ranks
        rows += [
            {
                "table": "ranks",
                "source": source,
                "module": module.name,
                "layer": module.layer,
                "family": module.family,
                "score": module.score,
                "standard_error": module.standard_error,
                "rank": ranks[module.name],
            }
            for module in mean.modules
        ]
    return rows


def _agreement_row(values: dict, first: str, second: str) -> dict:
    """Say how two sources agree, and how much less than two draws of the task's text do."""
    mean, error = agreement(values[first], values[second])
    row = {"table": "agreement", "first": first, "second": second}
    row |= {"spearman": mean, "standard_error": error, "repeats": len(values[first])}
    if mean is None or TASK not in (first, second):
        return row
    own = spearman(values[TASK], values[TASK])
    other = spearman(values[TASK], values[second if first == TASK else first])

    row["below_own"], row["below_own_error"] = jackknife(
        len(own), partial(mean_of_unlike, own - other)
    )
    return row


def _answer(rows: list[dict]) -> str:
    own, others = _against_task(rows)
    if not others:
        return "Nothing can be told: all modules score the same."
    apart = [
        row
        for row in others
        if is_told_apart(row["below_own"], row["below_own_error"], row["repeats"])
    ]
    two = f"another draw of it has {_figure(own)}"
    if not apart:
        least = others[-1]
        return (
            f"With {own['repeats']} repeats no other text is told apart from the task's own: the "
            f"furthest, {least['second']}, has Spearman {_figure(least)} with it, where {two}."
        )
    *first, last = [f"{row['second']} ({_figure(row)})" for row in apart]
    named = f"{', '.join(first)} and {last}" if first else last
    return f"Spearman tells {named} from the task's text, where {two}."


def _details(rows: list[dict]) -> str:
    _, others = _against_task(rows)
    told = ", ".join(f"{row['second']} {_figure(row)}" for row in others)
    return f"Agreement with the task's text, by Spearman: {told}." if told else ""


def _against_task(rows: list[dict]) -> tuple[dict, list[dict]]:
    """Return how the task's text agrees with itself, and what else with it, the nearest first."""
    found = [row for row in rows if row["table"] == "agreement" and row["first"] == TASK]
    own = next(row for row in found if row["second"] == TASK)
    others = [row for row in found if row["second"] != TASK and row["spearman"] is not None]
    others.sort(key=lambda row: -row["spearman"])
    return own, [] if own["spearman"] is None else others


def _figure(row: dict) -> str:
    return with_error(row["spearman"], row["standard_error"], 1)


STUDY = Study(
    name="text-source",
    question="Does it matter on which text modules are scored: the task's, any, or none at all?",
    defaults={"repeats": 4, "average_rank": 8.0, "other_task": OWN},
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
