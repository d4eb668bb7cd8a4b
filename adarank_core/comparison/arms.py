"""The arms of a comparison: what each controls for, and how it gets its ranks."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adarank_core.checks import is_whole
from adarank_core.comparison.inputs import input_path
from adarank_core.comparison.reshaped import permuted, scale_only
from adarank_core.data.texts import Texts, generic_texts
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_bytes, read_json
from adarank_core.ranks.allocation import RankPlan
from adarank_core.scoring.scores import Scores

if TYPE_CHECKING:  # which builds on this file
    from adarank_core.comparison.planner import Planner

__all__ = [
    "ARMS",
    "GROUPS",
    "Arm",
    "arm_label",
    "check_arms",
    "file_name",
    "has_lora",
    "is_matched",
]

#: Kinds of arms, in the order in which people are shown them.
GROUPS = (OURS, PLAIN, CONTROL, SCORE, RIVAL) = (
    "AdaRank",
    "baseline",
    "control",
    "other score",
    "rival method",
)
SAMPLED = 16  # texts that an arm may look at


@dataclass(frozen=True)
class Arm:
    """One way of choosing ranks and training with them: a line of the table `ARMS`.

    Its scores are its own, those of another arm, or none. Own ones come from ``texts`` or
    ``score``, which get the `Planner` and the seed.

    Parameters
    ----------
    name : str
    group : str
        One of `GROUPS`.
    question : str
        What it controls for, in one line.
    texts : callable, optional
        Returns the texts on which disagreement is scored.
    score : callable, optional
        Returns scores that are no disagreement.
    source : str
        The arm whose scores it takes.
    of_scores : callable, optional
        Turns the scores into others.
    of_plan : callable, optional
        Turns the plan, given the `Planner`, the scores and the seed, into another.
    method : str
        How it is trained; see `finetune`.
    needs_labels : bool
        Whether its scores depend on what is to be learned of the texts.
    free : bool
        Whether its scores take no time: they are not kept then, and count no seconds.
    min_rank : int
        That its own scores give a module at least.
    trains : str
        What is trained where there is no LoRA and there are no ranks; else empty.
    matched : bool
        Whether it has the LoRA parameters that every arm of a comparison has, or fewer where its
        modules cannot take them; False for one that is larger by design.

    Examples
    --------
    >>> ARMS["permuted"].scores, ARMS["gradient"].scores, ARMS["gradient"].needs_labels
    ('adarank', None, True)
    """

    name: str
    group: str
    question: str
    texts: Callable[["Planner", int], Texts] | None = None
    score: Callable[["Planner", int], Scores] | None = None
    source: str = ""
    of_scores: Callable[[Scores], Scores] | None = None
    of_plan: Callable[["Planner", RankPlan, Scores, int], RankPlan] | None = None
    method: str = "lora"
    needs_labels: bool = False
    free: bool = False
    min_rank: int = 1
    trains: str = ""
    matched: bool = True

    @property
    def origin(self) -> "Arm":
        """The arm whose scores it takes: itself, or another."""
        return ARMS[self.source] if self.source else self

    @property
    def scores(self) -> str | None:
        """The arm whose disagreement is scored for its ranks; None where none is."""
        return self.origin.name if self.origin.texts else None


# Where scores come from ---------------------------------------------------------------------------


def _task_texts(planner: "Planner", seed: int) -> Texts:
    return planner.objective.sample(SAMPLED, seed)[0]


def _one_text(planner: "Planner", seed: int) -> Texts:
    return Texts("sentence", _task_texts(planner, seed).items[:1])


def _plop(planner: "Planner", seed: int) -> Scores:
    return _baselines().plop(planner.bundle, _task_texts(planner, seed), seed, planner.max_length)


def _labelled(planner: "Planner", seed: int) -> tuple:
    return (planner.bundle, *planner.objective.sample(SAMPLED, seed), seed)


def _baselines():
    from adarank_core.scoring import baselines  # imports torch

    return baselines


def _eva(planner: "Planner", seed: int) -> Scores:
    from adarank_core.scoring.eva import eva

    rank = max(1, round(planner.average_rank))
    return eva(planner.bundle, _task_texts(planner, seed), rank, 2.0, planner.max_length)


# The table ----------------------------------------------------------------------------------------

_TABLE = (
    Arm(
        "uniform",
        PLAIN,
        "the same rank for every module: LoRA as it is",
        score=lambda at, seed: at.plain,
        free=True,
    ),
    Arm("adarank", OURS, "ranks from disagreement on 16 of the task's texts", texts=_task_texts),
    Arm(
        "adarank-generic",
        OURS,
        "ranks from disagreement on generic sentences: is task text needed?",
        texts=lambda at, seed: generic_texts(),
    ),
    Arm(
        "adarank-sentence",
        OURS,
        "ranks from disagreement on one of the task's texts: is one enough?",
        texts=_one_text,
    ),
    Arm(
        "permuted",
        CONTROL,
        "AdaRank's ranks shuffled among modules of equal size: does it matter who?",
        source="adarank",
        of_plan=lambda at, plan, scores, seed: permuted(plan, scores, seed),
    ),
    Arm(
        "scale-only",
        CONTROL,
        "uniform ranks with AdaRank's alpha: is it the step sizes and not the ranks?",
        source="adarank",
        of_plan=lambda at, plan, scores, seed: scale_only(plan, at.uniform),
    ),
    Arm(
        "uniform-double",
        PLAIN,
        "uniform ranks at twice the budget, outside the fairness rule: does rank bind at all?",
        source="uniform",
        of_plan=lambda at, plan, scores, seed: at.uniform_plan(2 * at.average_rank),
        matched=False,
    ),
    Arm(
        "attention-only",
        PLAIN,
        "all of the budget on the attention modules, evenly: LoRA's usual place",
        source="uniform",
        of_plan=lambda at, plan, scores, seed: at.part_plan("attention"),
    ),
    Arm(
        "mlp-only",
        PLAIN,
        "all of the budget on the feed-forward modules, evenly",
        source="uniform",
        of_plan=lambda at, plan, scores, seed: at.part_plan("mlp"),
    ),
    Arm(
        "one-module",
        OURS,
        "all of the budget on the module that AdaRank scores highest, up to its size",
        source="adarank",
        of_plan=lambda at, plan, scores, seed: at.one_module_plan(scores),
    ),
    Arm(
        "inverse",
        CONTROL,
        "ranks from one over the disagreement: does the wrong way round do harm?",
        source="adarank",
        of_scores=lambda scores: _baselines().inverse(scores),
    ),
    Arm(
        "ramp-up",
        CONTROL,
        "ranks that grow with depth: is depth all that AdaRank finds?",
        score=lambda at, seed: _baselines().depth_ramp(at.plain, up=True),
        free=True,
    ),
    Arm(
        "ramp-down",
        CONTROL,
        "ranks that fall with depth: the opposite ramp",
        score=lambda at, seed: _baselines().depth_ramp(at.plain, up=False),
        free=True,
    ),
    Arm(
        "random",
        CONTROL,
        "ranks drawn at random, anew for every seed: are unequal ranks enough?",
        score=lambda at, seed: _baselines().random_scores(at.bundle, seed),
        free=True,
    ),
    Arm(
        "gradient",
        SCORE,
        "ranks from the norm of the loss's gradient: do labels tell more?",
        score=lambda at, seed: _baselines().gradient_norm(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "snip",
        SCORE,
        "ranks from SNIP, |gradient × weight|: is a pruning score as good?",
        score=lambda at, seed: _baselines().snip(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "fisher",
        SCORE,
        "ranks from the empirical Fisher information: the classical importance",
        score=lambda at, seed: _baselines().empirical_fisher(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "lora-gradient",
        SCORE,
        "ranks from the gradient at LoRA's B, as FIM-LoRA and PAGE: where training would begin",
        score=lambda at, seed: _baselines().lora_gradient(*_labelled(at, seed)),
        needs_labels=True,
    ),
    Arm(
        "plop",
        SCORE,
        "ranks from PLoP, one over the normalised feature norm: where weights ignore the texts",
        score=_plop,
    ),
    Arm(
        "weight-norm",
        SCORE,
        "ranks from the weights' norms: is a look at the weights enough?",
        score=lambda at, seed: _baselines().weight_norm(at.bundle),
    ),
    Arm(
        "stable-rank",
        SCORE,
        "ranks from the weights' stable ranks: or at their spectrum?",
        score=lambda at, seed: _baselines().stable_rank(at.bundle),
    ),
    # EVA leaves modules out.
    Arm(
        "eva-ranks",
        RIVAL,
        "EVA's ranks, from the variance of the inputs, with LoRA's usual start",
        score=_eva,
        min_rank=0,
    ),
    Arm(
        "eva",
        RIVAL,
        "EVA's ranks and EVA's start: the whole of a rival method",
        source="eva-ranks",
        method="eva",
    ),
    Arm(
        "eva-uniform",
        RIVAL,
        "the same rank for every module with EVA's start: is it the start?",
        source="uniform",
        method="eva",
    ),
    Arm(
        "adalora",
        RIVAL,
        "AdaLoRA, whose ranks move while it trains: is before training early enough?",
        source="uniform",
        method="adalora",
    ),
    Arm(
        "head-only",
        PLAIN,
        "no LoRA at all: what the head alone can do",
        method="head-only",
        trains="the head's weights only",
    ),
    Arm(
        "full",
        PLAIN,
        "all weights trained, at a hundredth of the learning rate: for reference",
        method="full",
        trains="all weights, and no LoRA",
    ),
)
#: Every arm by its name; to add one is to add a line to the table.
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _TABLE}


def check_arms(arms: Sequence[str], seeds: Sequence[int], folder: Path | None = None) -> None:
    """Raise `AdaRankError` unless a comparison of these arms and seeds can be run.

    Parameters
    ----------
    arms : sequence of str
    seeds : sequence of int
    folder : pathlib.Path, optional
        The run's, which may hold copies of plans.

    Examples
    --------
    >>> check_arms(["uniform", "adarank"], [0, 1])
    """
    if not arms:
        raise AdaRankError("no arms are given; name at least one, such as 'uniform'")
    if not seeds:
        raise AdaRankError("no seeds are given; name at least one, such as 0")
    for seed in seeds:
        if not is_whole(seed, 0, 2**32 - 1):
            raise AdaRankError(f"the seed is {quoted(seed)}; it must be from 0 to {2**32 - 1}")
    for kind, items in (("arm", arms), ("seed", seeds)):
        twice = next((item for item, count in Counter(items).items() if count > 1), None)
        if twice is not None:
            raise AdaRankError(f"the {kind} {twice!r} is given twice; give each once")
    for arm in arms:
        if arm not in ARMS and not arm.endswith(".json"):
            raise AdaRankError(
                f"the arm {arm!r} is unknown; choose from {', '.join(ARMS)}, or give the path of "
                "a ranks.json"
            )
        if arm.endswith(".json"):
            RankPlan.from_dict(read_json(input_path(folder, arm)))


def file_name(arm: str, folder: Path | None = None) -> str:
    """Return an arm's name as part of a file name; that of a file tells its content too.

    Parameters
    ----------
    arm : str
    folder : pathlib.Path, optional
        The run's, which may hold a copy of the file.

    Examples
    --------
    >>> file_name("adarank")
    'adarank'
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "adarank.json"
    >>> _ = path.write_text("{}")
    >>> file_name(str(path))
    'adarank-44136fa3'
    """
    if arm in ARMS:
        return arm
    # Two files may have one name, and a file may have changed since an earlier run.
    content = read_bytes(input_path(folder, arm))
    return f"{Path(arm).stem}-{hashlib.sha256(content).hexdigest()[:8]}"


def has_lora(arm: str) -> bool:
    """Tell whether an arm trains LoRA; those that do not are larger or smaller by design.

    Examples
    --------
    >>> has_lora("uniform"), has_lora("plans/mine.json"), has_lora("full")
    (True, True, False)
    """
    return arm not in ARMS or not ARMS[arm].trains


def is_matched(arm: str) -> bool:
    """Tell whether an arm's LoRA parameters are held to the comparison's number.

    Examples
    --------
    >>> is_matched("adarank"), is_matched("uniform-double"), is_matched("full")
    (True, False, False)
    """
    return has_lora(arm) and (arm not in ARMS or ARMS[arm].matched)


def arm_label(arm: str) -> str:
    """Return what people call an arm: the path of a ``ranks.json`` is cut to its file's name.

    Examples
    --------
    >>> arm_label("adarank"), arm_label("plans/mine.json")
    ('adarank', 'own ranks (mine)')
    """
    return f"own ranks ({Path(arm).stem})" if arm.endswith(".json") else arm
