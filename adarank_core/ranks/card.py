"""A model card: the README.md of an export, which tells how the ranks came about."""

import json
import re

from adarank_core.ranks.plans import ALPHA_POLICIES, RankPlan
from adarank_core.ranks.recipes import peft_lines
from adarank_core.scoring.labels import (
    UNNAMED_MODEL,
    family_label,
    layer_label,
    of_texts,
    public_name,
)
from adarank_core.scoring.scores import Scores

__all__ = ["model_card"]

NOISE_MODE = "paper"


def model_card(plan: RankPlan, scores: Scores | None = None, starter: bool = False) -> str:
    """Return the Markdown of a model card, with the Hub's front matter.

    Parameters
    ----------
    plan : RankPlan
    scores : Scores, optional
        The ranks' own: they are then shown as layers × families.
    starter : bool
        Whether untrained weights lie beside it.

    Examples
    --------
    >>> card = model_card(RankPlan("embedded", {"query": 4}, {"query": 8}), starter=True)
    >>> print(card.split("---")[1].strip())
    base_model: "sentence-transformers/all-MiniLM-L6-v2"
    library_name: peft
    tags:
    - lora
    - adarank
    """
    model = public_name(plan.model)
    front = [f"base_model: {json.dumps(model)}"] if model != UNNAMED_MODEL else []
    front += ["library_name: peft", "tags:", "- lora", "- adarank"]
    ranks = plan.ranks.values()
    holds = (
        "This folder holds an **untrained** LoRA adapter with these ranks: `B` is zero, so the "
        "model answers as the base model does until it is trained. It has no classifier's head."
        if starter
        else "This folder holds a plan of ranks, and no weights."
    )
    parts = [
        "---\n" + "\n".join(front) + "\n---",
        f"# LoRA ranks for {_plain(model)}",
        f"{holds} {len(ranks)} modules have ranks {min(ranks)} to {max(ranks)}, "
        f"{sum(ranks) / len(ranks):.3g} on average.",
        "## How the ranks came about",
        _origin(plan),
        _budget(plan),
        f"Alpha policy {plan.alpha_policy}: {ALPHA_POLICIES[plan.alpha_policy]}.",
        "Ranks by a score are no promise of a better model: compare with uniform ranks of as many "
        "parameters, over several seeds.",
        "## The ranks",
        _grid(plan, scores) if _fits(plan, scores) else _list(plan),
        "## How to use it",
        f"```python\n{peft_lines(plan, 'path/to/this/folder' if starter else None)}```",
    ]
    return "\n\n".join(parts) + "\n"


def _origin(plan: RankPlan) -> str:
    """Say in a sentence or two what the scores were."""
    if not plan.scores_sha256:
        return "They come from no scores of modules: they were given, or are equal."
    if plan.mode in (NOISE_MODE, ""):
        what = (
            "Each module was scored by AdaRank (Dong, arXiv 2408.09015): random noise is added to "
            "its weights alone, twice, and the score is how far apart (L1 distance) that drives "
            "the two noisy models' logits"
        )
    else:
        what = f"Each module was scored by AdaRank's mode {_plain(plan.mode)}"
    if plan.texts:
        source, count = plan.texts.get("source", "unknown"), plan.texts.get("count", "?")
        what += f", on {_plain(of_texts(source, count))}"
    known = [f"{plan.trials} trials"] if plan.trials is not None else []
    known += [f"seed {plan.seed}"] if plan.seed is not None else []
    known.append(f"scores.json's sha256 {_plain(plan.scores_sha256[:12])}…")
    return f"{what} ({', '.join(known)}). Nothing was trained for it."


def _budget(plan: RankPlan) -> str:
    """Say in a sentence or two how the scores became ranks."""
    budget = plan.budget
    by, requested = budget.get("by"), budget.get("requested")
    if not plan.scores_sha256 or requested is None:
        return f"Their sum is {sum(plan.ranks.values()):,}."
    if by == "adaptive":
        said = "There is no budget: ranks follow from the scores alone"
    else:
        unit = "LoRA parameters" if by == "parameters" else "ranks"
        said = f"A budget of {requested:,} {unit} was split over the modules"
        said += " in proportion to the scores"
    power = budget.get("temperature", 1)
    said += f" to the power {power:g}" if isinstance(power, int | float) and power != 1 else ""
    said += ", each family of modules by itself" if budget.get("group_by") == "family" else ""
    wishes = []
    for key, words in (("pinned", "set by hand"), ("excluded", "left out")):
        names = budget.get(key)
        if isinstance(names, list | dict) and names:
            wishes.append(f"{words}: {', '.join(_plain(str(name)) for name in names)}")
    for key in ("min_rank", "max_rank"):
        if key in budget:
            wishes.append(f"{key.replace('_rank', '')}imum rank {_plain(str(budget[key]))}")
    used = budget.get("lora_parameters")
    said += f"; they have {used:,} LoRA parameters" if isinstance(used, int) else ""
    return f"{said}." + (f" Of these ranks, {'; '.join(wishes)}." if wishes else "")


def _fits(plan: RankPlan, scores: Scores | None) -> bool:
    """Tell whether the scores have one module for each layer and family that the plan names."""
    if scores is None or {module.name for module in scores.modules} != set(plan.ranks):
        return False
    return len({(module.layer, module.family) for module in scores.modules}) == len(plan.ranks)


def _grid(plan: RankPlan, scores: Scores) -> str:
    families = scores.families
    rank = {(m.layer, m.family): str(plan.ranks[m.name]) for m in scores.modules}
    lines = [["", *(_plain(family_label(family)) for family in families)]]
    lines.append(["---", *("---:" for _ in families)])
    for layer in sorted({module.layer for module in scores.modules}):
        row = [rank.get((layer, family), "") for family in families]
        lines.append([layer_label(layer), *row])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(plan: RankPlan) -> str:
    rows = [f"| {_plain(name)} | {rank} |" for name, rank in plan.ranks.items()]
    return "\n".join(["| module | rank |", "| --- | ---: |", *rows])


def _plain(text: str) -> str:
    """Write what Markdown or HTML would read as a sign of theirs as an entity."""
    return re.sub(r"[^\w .,/·…-]", lambda found: f"&#{ord(found[0])};", text)
