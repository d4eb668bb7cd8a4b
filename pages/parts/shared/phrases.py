"""What pages say about scores and ranks: titles as findings, details, and how to do it again."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from textwrap import shorten

from adarank_core.numerals import with_error
from adarank_core.ranks.allocation import RankPlan
from adarank_core.scoring.labels import of_texts
from adarank_core.scoring.leading import leading_modules
from adarank_core.scoring.scores import Scores
from pages.parts.shared.charts import family_label, layer_label, module_label

__all__ = [
    "command",
    "detail",
    "of_texts",
    "old_words",
    "rank_finding",
    "score_finding",
    "snippet",
]

NOUNS = {
    "query": "query projection",
    "key": "key projection",
    "value": "value projection",
    "attention.output": "attention output projection",
    "intermediate": "feed-forward input projection",
    "output": "feed-forward output projection",
}


# Whose head was scored.
HEADS = {
    "expected": "averaged over all random heads",
    "seed": "the random head of the seed",
    "trained": "the model's own trained head",
}


def score_finding(scores: Scores) -> str:
    """Say which modules matter most, and how sure that is.

    Those whose error bars meet the highest score's are named together, by their family if they
    share one.

    Parameters
    ----------
    scores : Scores

    Returns
    -------
    str

    Examples
    --------
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore(f"b.{at}.value", at, "value", 8, 8, 0.1 + at, 0.01) for at in (0, 1)]
    >>> score_finding(Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules)))
    "Layer 2's value projection matters most: 1.100 ± 0.010, about 11× the next"
    """
    leading = leading_modules(scores)
    if len(leading) == len(scores.modules):
        return "No module clearly matters more than the others: the error bars overlap"
    top, families = leading[0], {module.family for module in leading}
    value = with_error(top.score, top.standard_error)
    if len(leading) == 1:
        following = max(m.score for m in scores.modules if m is not top)
        more = f", about {_times(top.score / following)} the next" if following else ""
        return (
            f"{layer_label(top.layer).capitalize()}'s {_noun(top.family)} matters most: "
            f"{value}{more}"
        )
    if len(families) == 1:
        which = _listed([str(layer) for layer in sorted(module.layer + 1 for module in leading)])
        return f"The {_noun(top.family)}s of layers {which} matter most, up to {value}"
    if len(leading) <= 3:
        which = _listed([module_label(module) for module in leading])
        return f"{which[0].upper()}{which[1:]} matter most, up to {value}"
    return (
        f"{module_label(top).capitalize()} and {len(leading) - 1} others matter most, up to "
        f"{value}: their error bars overlap"
    )


def rank_finding(
    scores: Scores, plan: RankPlan, pinned: Collection[str] = (), excluded: Collection[str] = ()
) -> str:
    """Say what the plan gives to its richest and to its poorest module, and what was set by hand.

    Parameters
    ----------
    scores : Scores
    plan : RankPlan
    pinned : collection of str
        Modules whose ranks are pinned.
    excluded : collection of str
        Modules that are left out.

    Examples
    --------
    >>> from adarank_core import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore(n, 0, n, 64, 64, s, 0.0) for n, s in (("query", 1.0), ("key", 3.0))]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> rank_finding(scores, allocate(scores, average_rank=8))
    'Layer 1 · key gets rank 12, layer 1 · query rank 4'
    >>> rank_finding(scores, allocate(scores, 8, pinned={"query": 6}), ["query"])
    'Layer 1 · key gets rank 10; 1 rank is pinned by hand'
    """
    by_hand = ""
    if pinned:
        by_hand = f"; {len(pinned)} rank{'s are' if len(pinned) > 1 else ' is'} pinned by hand"
    free = [one for one in scores.modules if one.name not in pinned and one.name not in excluded]
    if not free:
        return "Every rank is set by hand"
    by_rank = sorted(free, key=lambda module: plan.ranks[module.name])
    poorest, richest = by_rank[0], by_rank[-1]
    most, least = plan.ranks[richest.name], plan.ranks[poorest.name]
    if len(free) == 1:
        return f"{module_label(richest).capitalize()} gets rank {most}{by_hand}"
    if most == least and pinned:
        return f"Every other module gets rank {most}{by_hand}"
    if most == least:
        return f"Every module gets rank {most}, as uniform LoRA would give"
    return (
        f"{module_label(richest).capitalize()} gets rank {most}, "
        f"{module_label(poorest)} rank {least}{by_hand}"
    )


def old_words(shown, asked, page: str = "") -> str:
    """Say what older scores are of, and what has to be done for those that are asked for.

    Parameters
    ----------
    shown : pages.parts.shared.state.Shown
    asked : pages.parts.shared.state.Asked
        Something else.
    page : str
        Where **Score** is, if it is not in sight.

    Examples
    --------
    >>> from pages.parts.shared.state import Asked, Shown
    >>> scores = Scores("embedded", "paper", "fast", 1.0, 7, {}, ())
    >>> seven, eight = (Asked("embedded", "generic", "", None, seed) for seed in (7, 8))
    >>> old_words(Shown(scores, "computed now", "generic", "", seven), eight)
    'This is seed 7 on generic text; press Score for seed 8.'
    """
    was, wanted = _asked_words(shown.asked), _asked_words(asked)
    other = [name for name in was if was[name] != wanted[name]]
    if shown.scores.trials is not None:
        was["trials"] = f"{shown.scores.trials} trials"
    before = ", ".join(was[name] for name in other if name != "text")
    told = f"{before} on {was['text']}" if before else was["text"]
    # Two files may have one name, and two sentences one beginning.
    wanted = ", ".join(wanted[name] for name in other) or f"the other {wanted['text']}"
    where = f" on {page}" if page else ""
    told = "your file" if shown.kind == "your file" else told
    return f"This is {told}; press Score{where} for {wanted}."


def _asked_words(asked) -> dict[str, str]:
    text = {
        "generic": "generic text",
        "task": f"task text of {_of_user(asked.text)}",
        "sentence": f"“{shorten(asked.text, 80, placeholder='…')}”",
    }[asked.source]
    trials = "the usual trials" if asked.trials is None else f"{asked.trials} trials"
    return {
        "seed": f"seed {asked.seed}",
        "trials": trials,
        "text": text,
        "model": f"model {_of_user(asked.model)}",
    }


def detail(shown) -> str:
    """Say in a line what shown scores were made with.

    Parameters
    ----------
    shown : pages.parts.shared.state.Shown
    """
    texts = shown.scores.texts
    texts = of_texts(texts.get("source", "unknown"), texts.get("count", "?"))
    parts = [f"model {shown.scores.model}", texts]
    if shown.scores.trials is not None:
        parts.append(f"{shown.scores.trials} trials")
    if shown.scores.head_draw is not None:
        parts.append(HEADS[shown.scores.head_draw])
    return " · ".join([*parts, f"seed {shown.scores.seed}"])


def command(shown) -> str:
    """Return the shell command that computes shown scores again.

    Parameters
    ----------
    shown : pages.parts.shared.state.Shown
        Its ``text`` is the sentence or the task.
    """
    flags = {
        "generic": ["--generic"],
        "task": ["--task", _of_user(shown.text)],
        "sentence": ["--sentence", shown.text],
    }[shown.source]
    scores = shown.scores
    words = ["python", "-m", "adarank_core", "score", "--model", scores.model, *flags]
    words += ["--estimator", scores.estimator]
    if scores.trials is not None:
        words += ["--trials", str(scores.trials)]
    return shlex.join([*words, "--seed", str(scores.seed), "--json", "scores.json"])


def snippet(shown) -> str:
    """Return Python source that computes shown scores again, as ``scores``.

    Parameters
    ----------
    shown : pages.parts.shared.state.Shown
        Its ``text`` is the sentence or the task.
    """
    scores = shown.scores
    model, seed = scores.model, scores.seed
    options = f"estimator={scores.estimator!r}"
    if scores.trials is not None:
        options += f", trials={scores.trials}"
    if shown.source == "task":
        lines = [
            f"task = ar.load_task({_of_user(shown.text)!r})",
            f"bundle = ar.load_model({model!r}, labels=len(task.label_names))",
            f"texts = task.sample_texts(16, seed={seed})",
        ]
    else:
        texts = f"sentence({shown.text!r})" if shown.source == "sentence" else "generic_texts()"
        lines = [f"bundle = ar.load_model({model!r})", f"texts = ar.{texts}"]
    lines = ["import adarank_core as ar", "", *lines]
    lines.append(f"scores = ar.score(bundle, texts, {options}, seed={seed})")
    return "\n".join(lines) + "\n"


def _of_user(task: str) -> str:
    """Return an uploaded file by the name that it has on the user's machine."""
    return Path(task).name


def _noun(family: str) -> str:
    return NOUNS.get(family, f"{family_label(family)} module")


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 3 else f"{ratio:.1f}×"
