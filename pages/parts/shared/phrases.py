"""What pages say about scores and ranks: titles as findings, details, and how to do it again."""

import shlex
from pathlib import Path

from adarank_core.ranks.allocation import RankPlan
from adarank_core.scoring.labels import of_texts
from adarank_core.scoring.layer_contrast import surest_pair
from adarank_core.scoring.scores import Scores
from pages.parts.shared.charts import family_label, layer_label, module_label

__all__ = [
    "command",
    "detail",
    "of_texts",
    "rank_finding",
    "score_finding",
    "snippet",
]

NOUNS = {
    "query": "query projections",
    "key": "key projections",
    "value": "value projections",
    "attention.output": "attention output projections",
    "intermediate": "feed-forward input projections",
    "output": "feed-forward output projections",
}


# Whose head was scored.
HEADS = {
    "expected": "averaged over all random heads",
    "seed": "the random head of the seed",
    "trained": "the model's own trained head",
}


def score_finding(scores: Scores) -> str:
    """Say which two layers differ most surely within one family of modules.

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
    "Layer 2's value projections matter about 11× more than layer 1's"
    """
    pair = surest_pair(scores)
    if pair is None:
        return "No layer clearly matters more than another: the error bars overlap"
    high, low = pair
    noun = NOUNS.get(high.family, f"{family_label(high.family)} modules")
    return (
        f"{layer_label(high.layer).capitalize()}'s {noun} matter about "
        f"{_times(high.score / low.score)} more than {layer_label(low.layer)}'s"
    )


def rank_finding(scores: Scores, plan: RankPlan) -> str:
    """Say what the plan gives to its richest and to its poorest module.

    Examples
    --------
    >>> from adarank_core import allocate
    >>> from adarank_core.scoring.scores import ModuleScore
    >>> modules = [ModuleScore(n, 0, n, 64, 64, s, 0.0) for n, s in (("query", 1.0), ("key", 3.0))]
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, {}, tuple(modules))
    >>> rank_finding(scores, allocate(scores, average_rank=8))
    'Layer 1 · key gets rank 12, layer 1 · query rank 4'
    """
    by_rank = sorted(scores.modules, key=lambda module: plan.ranks[module.name])
    poorest, richest = by_rank[0], by_rank[-1]
    most, least = plan.ranks[richest.name], plan.ranks[poorest.name]
    if most == least:
        return f"Every module gets rank {most}, as uniform LoRA would give"
    return (
        f"{module_label(richest).capitalize()} gets rank {most}, "
        f"{module_label(poorest)} rank {least}"
    )


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


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 3 else f"{ratio:.1f}×"
