"""Verdicts: is one arm better than another, or can nobody tell with this many seeds?

The test is the paired t-test and the interval is its own. How often each candidate finds a
difference at 5% where there is none, over 2,000 comparisons of pure normal noise (this and what
follows: ``python benchmarks/false_positives.py``):

===== ====== ========= ======== ==================== =============
seeds t-test sign-flip Wilcoxon percentile bootstrap BCa bootstrap
===== ====== ========= ======== ==================== =============
3     5.1%   0.0%      0.0%     25.8%                28.2%
5     4.2%   0.0%      0.0%     15.2%                15.4%
8     5.2%   5.3%      4.5%     11.2%                11.2%
10    5.1%   5.1%      5.1%     9.4%                 9.9%
===== ====== ========= ======== ==================== =============

Flips of sign and ranks can say nothing below six seeds: of 2^5 outcomes the most extreme two are
already 6%. Resampling five seeds makes far too narrow an interval. The t-test assumes that the
differences are about normal; two arms under the same noise have differences that are symmetric at
least. Where the noise of one arm alone is skewed, all of them find too much.

**Looks.** Who adds seeds until something is found has looked several times, and finds more than 5%
where nothing is. A folder counts the looks; see `level_of_look` for what each is decided at. Found
in any of five looks, over 20,000 comparisons:

================ =========== ==============
seeds            each at 5%  as it is here
================ =========== ==============
3, 5, 8, 12, 16  16.3%       6.2%
5, 8, 10, 12, 16 13.6%       5.2%
5, 6, 7, 8, 9    10.9%       4.8%
3, 4, 5, 6, 7    13.1%       5.0%
================ =========== ==============

**Texts.** The test texts are a sample too. The second interval is over seeds and texts; see
`texts_interval`. How often each 95% interval holds the truth, over 2,000 comparisons with 100 and
500 texts, where the deviation is 0.05 nats between seeds, 0.5 between texts, and 1 of a text with a
seed:

===== ========== ====================
seeds over seeds over seeds and texts
===== ========== ====================
3     93%, 94%   96%, 97%
5     86%, 92%   95%, 97%
10    77%, 84%   96%, 96%
===== ========== ====================

Where the texts differ by a lognormal law (sigma 1.5) instead of a normal one, the second holds the
truth in 95 to 97% of these cases. Where besides hardly anything but the text counts (0.02, 0.5 and
0.1 nats), so that a few texts make most of the difference, it does so in 86 to 92% with 100 texts
and in 92 to 97% with 500.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, NotRequired

from annotated_types import Interval, MinLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.comparison.statistics import level_of_look
from adarank_core.errors import AdaRankError, quoted
from adarank_core.ranks.plans import Ranks
from adarank_core.schemas import STRICT, FailFast, Name, Text, check_format, validated

__all__ = [
    "FEWEST_SEEDS",
    "FROM_HEAD_ONLY",
    "GIVEN",
    "METRICS",
    "METRIC_NAMES",
    "NO_DIFFERENCE",
    "NO_PRACTICAL",
    "ONE_SEED",
    "SECONDARY",
    "TOO_FEW",
    "VERDICTS",
    "Count",
    "LookEntry",
    "RunEntry",
    "Seed",
    "Verdict",
]

FORMAT = "adarank-verdict/1"

#: Metric → whether more is better.
METRICS = {"test_loss": False, "test_accuracy": True, "macro_f1": True, "auc": True}
METRIC_NAMES = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "macro_f1": "macro-F1",
    "auc": "AUC",
}
# Where a smallest difference of interest is known: it is ruled out, or this many seeds cannot say.
NO_PRACTICAL = "no practical difference"
TOO_FEW = "too few seeds to tell"
# Where it is not known, nothing can be ruled out.
NO_DIFFERENCE = "no detectable difference"
ONE_SEED = "one seed decides nothing"
SECONDARY = "secondary"  # numbers to look at, about which nothing is claimed
VERDICTS = ("better", "worse", NO_PRACTICAL, TOO_FEW, NO_DIFFERENCE, ONE_SEED, SECONDARY)

FEWEST_SEEDS = 3  # for a word; the t-test of two seeds has one degree of freedom
# A loss that is lower by this share than that of guessing is no luck.
LEARNED = 0.05
# Where the smallest difference of interest comes from.
GIVEN, FROM_HEAD_ONLY = "given", "head-only"

Count = Annotated[int, Interval(ge=0, le=10**12)]
Seed = Annotated[int, Interval(ge=-(2**63), lt=2**64)]
_Number = Annotated[float, Interval(ge=-1e15, le=1e15)]  # no sum of some overflows


class RunEntry(TypedDict):
    """What a run came to, as JSON has it."""

    __pydantic_config__ = STRICT
    seed: Seed
    test_loss: _Number
    test_accuracy: NotRequired[_Number | None]
    macro_f1: NotRequired[_Number | None]
    auc: NotRequired[_Number | None]
    train_seconds: NotRequired[_Number]
    steps: NotRequired[Annotated[int, Interval(ge=1, le=10**12)]]


class _ArmEntry(TypedDict):
    __pydantic_config__ = STRICT
    lora_parameters: Count
    allocation_seconds: _Number
    runs: Annotated[list[RunEntry], MinLen(1), FailFast()]
    ranks: NotRequired[Ranks]
    learning_rate: NotRequired[_Number | None]
    learning_rate_at_edge: NotRequired[bool]
    search_seconds: NotRequired[_Number]
    validation_loss: NotRequired[dict[Text, _Number | None]]
    validation_loss_by_seed: NotRequired[dict[Text, dict[Text, _Number | None]]]


class LookEntry(TypedDict):
    """What a verdict was read of; see `adarank_core.comparison.judging.Declared`."""

    __pydantic_config__ = STRICT
    arms: Annotated[list[Name], MinLen(1), FailFast()]
    seeds: Annotated[list[Seed], MinLen(1), FailFast()]
    smallest_of_interest: NotRequired[_Number | None]


class _ComparedEntry(TypedDict):
    __pydantic_config__ = STRICT
    arm: Name
    against: Name
    metric: Literal[tuple(METRICS)]
    difference: _Number
    ci_low: _Number | None
    ci_high: _Number | None
    p_value: _Number | None
    p_adjusted: _Number | None
    verdict: Literal[VERDICTS]
    smallest_detectable: _Number | None
    # Older files have none of these.
    ci_level: NotRequired[Annotated[float, Interval(ge=0.5, lt=1)]]
    ci_low_texts: NotRequired[_Number | None]
    ci_high_texts: NotRequired[_Number | None]
    p_equivalence: NotRequired[_Number | None]
    seeds_needed: NotRequired[Count | None]


class _Guessing(TypedDict):
    __pydantic_config__ = STRICT
    accuracy: Annotated[float, Interval(ge=0, le=1)]
    loss: Annotated[float, Interval(ge=0, le=1e15)]
    texts: Annotated[int, Interval(ge=1, le=10**12)]


class _VerdictFile(TypedDict):
    __pydantic_config__ = STRICT
    task: Name
    model: Name
    arms: dict[Name, _ArmEntry]
    comparisons: Annotated[list[_ComparedEntry], FailFast()]
    failed: NotRequired[dict[Name, Text]]
    primary_metric: NotRequired[Literal[tuple(METRICS)]]
    smallest_of_interest: NotRequired[_Number | None]
    smallest_of_interest_from: NotRequired[Literal[GIVEN, FROM_HEAD_ONLY] | None]
    planned_seeds: NotRequired[Annotated[list[Seed], FailFast()]]
    looks: NotRequired[Annotated[list[LookEntry], FailFast()]]
    guessing: NotRequired[_Guessing | None]


@dataclass(frozen=True)
class Verdict:
    """What a comparison came to.

    Parameters
    ----------
    task, model : str
    arms : dict
        By name: ``lora_parameters`` (int), ``ranks`` (of the first seed), ``allocation_seconds``
        (mean over seeds) and ``runs``, one dictionary a seed as `finetune` returns it.
    comparisons : tuple of dict
        As `paired_comparison` returns them, with ``arm``, ``against``, ``metric``,
        ``p_adjusted``, ``verdict`` and, where every text's loss is known, ``ci_low_texts`` and
        ``ci_high_texts``. Those of the primary metric come first.
    failed : dict of str to str
        Why an arm is not among ``arms``: what broke one of its runs off, such as a loss that is
        no number.
    primary_metric : str
    smallest_of_interest : float or None
        In the primary metric's unit.
    smallest_of_interest_from : {"given", "head-only", None}
        Whether somebody gave it, or it is a tenth of what ``uniform`` gains over ``head-only``.
    planned_seeds : tuple of int
    looks : tuple of dict
        See `adarank_core.comparison.judging.Declared`.
    guessing : dict or None
        What guessing from the classes' frequencies comes to; see `Classification.guessing`. None
        where there are no classes, and in older files.

    Examples
    --------
    >>> verdict = Verdict("t", "m", {}, ())
    >>> Verdict.from_dict(verdict.to_dict()) == verdict, verdict.exploratory
    (True, False)
    """

    task: str
    model: str
    arms: dict
    comparisons: tuple[dict, ...]
    failed: dict[str, str] = field(default_factory=dict)
    primary_metric: str = "test_loss"
    smallest_of_interest: float | None = None
    smallest_of_interest_from: str | None = None
    planned_seeds: tuple[int, ...] = ()
    looks: tuple[dict, ...] = ()
    guessing: dict | None = None

    @property
    def nobody_learned(self) -> bool:
        """Whether no arm is clearly better than guessing, so that nothing can be compared.

        An arm has learned where its mean test accuracy is above that of always naming the most
        frequent class by more than two standard errors of a share of so many texts, or its mean
        test loss is below that of guessing by more than a twentieth: where nearly all texts are
        of one class, the loss can fall long before the accuracy rises.
        """
        if self.guessing is None or not self.arms:
            return False
        share, texts = self.guessing["accuracy"], self.guessing["texts"]
        accuracy = share + 2 * math.sqrt(share * (1 - share) / texts)
        loss = (1 - LEARNED) * self.guessing["loss"]
        for about in self.arms.values():
            accuracies = [run.get("test_accuracy") for run in about["runs"]]
            losses = [run["test_loss"] for run in about["runs"]]
            if None in accuracies or sum(accuracies) / len(accuracies) > accuracy:
                return False
            if sum(losses) / len(losses) < loss:
                return False
        return True

    @property
    def exploratory(self) -> bool:
        """Whether a verdict on fewer seeds, or on other arms, was read before this one."""
        return len(self.looks) > 1

    @property
    def level(self) -> float:
        """The level at which it was decided; see `level_of_look`."""
        return level_of_look(len(self.looks))

    @property
    def seeds(self) -> int:
        """How many seeds what is compared has: of a file that somebody changed, the fewest."""
        compared = {one[end] for one in self.comparisons for end in ("arm", "against")}
        arms = [self.arms[arm] for arm in compared if arm in self.arms] or self.arms.values()
        return min((len(about["runs"]) for about in arms), default=0)

    def seeds_of(self, compared: dict) -> int:
        """Return how many seeds one of the comparisons has."""
        pair = [compared.get(end) for end in ("arm", "against")]
        found = [len(self.arms[arm]["runs"]) for arm in pair if arm in self.arms]
        return min(found, default=self.seeds)

    @property
    def primary(self) -> tuple[dict, ...]:
        """The comparisons that the verdict is about."""
        return self.of_metric(self.primary_metric)

    def of_metric(self, metric: str) -> tuple[dict, ...]:
        """Return the comparisons on a metric."""
        return tuple(one for one in self.comparisons if one["metric"] == metric)

    def to_dict(self) -> dict:
        """Return the ``adarank-verdict/1`` dictionary; ``failed`` is in it where an arm did."""
        failed = {"failed": dict(self.failed)} if self.failed else {}
        return {
            "format": FORMAT,
            "task": self.task,
            "model": self.model,
            "primary_metric": self.primary_metric,
            "smallest_of_interest": self.smallest_of_interest,
            "smallest_of_interest_from": self.smallest_of_interest_from,
            "planned_seeds": list(self.planned_seeds),
            "looks": list(self.looks),
            "exploratory": self.exploratory,
            "arms": self.arms,
            "comparisons": list(self.comparisons),
            **({} if self.guessing is None else {"guessing": self.guessing}),
            **failed,
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Verdict":
        """Build a verdict from an ``adarank-verdict/1`` dictionary, also of older versions.

        Those knew no primary metric; their test loss stood first.

        Raises
        ------
        AdaRankError
            If the format tag, a key or a value is not right, or if what is compared is not there.
        """
        check_format(data, FORMAT, "verdict")
        validated(data, _VerdictFile, "the verdict")
        for compared in data["comparisons"]:
            _check_compared(compared, data["arms"])
        return cls(
            data["task"],
            data["model"],
            data["arms"],
            tuple(data["comparisons"]),
            data.get("failed", {}),
            data.get("primary_metric", "test_loss"),
            data.get("smallest_of_interest"),
            data.get("smallest_of_interest_from"),
            tuple(data.get("planned_seeds", ())),
            tuple(data.get("looks", ())),
            data.get("guessing"),
        )


def _check_compared(compared: dict, arms: dict) -> None:
    """Raise `AdaRankError` unless a comparison can be told and drawn with these arms."""
    pair, metric = (compared["arm"], compared["against"]), compared["metric"]
    for arm in pair:
        if arm not in arms:
            raise AdaRankError(f"the verdict compares {quoted(arm)}, which is none of its arms")
        if any(run.get(metric) is None for run in arms[arm]["runs"]):
            raise AdaRankError(f"the verdict compares {metric!r}, which {quoted(arm)} lacks")
    first, second = ([run["seed"] for run in arms[arm]["runs"]] for arm in pair)
    if first != second:
        raise AdaRankError(
            f"the verdict compares {quoted(pair[0])} with {quoted(pair[1])}, whose seeds differ"
        )
    one_seed, word = compared["p_value"] is None, compared["verdict"]
    intervals = [
        [compared.get(f"ci_{end}{of}") for end in ("low", "high")] for of in ("", "_texts")
    ]
    halves = any(interval.count(None) == 1 for interval in intervals)
    if halves or (word != SECONDARY and one_seed != (word == ONE_SEED)):
        raise AdaRankError(
            f"the verdict's interval, p-value and word on {quoted(pair[0])} do not go together"
        )
