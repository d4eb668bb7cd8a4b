"""What scoring is asked for, checked before any model is looked at.

It needs no torch, so that pages and ``--help`` do not wait for it.
"""

import re
from dataclasses import dataclass, replace

from adarank_core.checks import is_number, is_whole
from adarank_core.errors import AdaRankError, quoted
from adarank_core.hardware import bf16_is_native
from adarank_core.limits import check_limit
from adarank_core.patterns import check_pattern

__all__ = ["ScoringOptions", "check_max_length", "check_trials"]

LONGEST = 10**6  # tokens
NOISES = ("gaussian", "uniform", "absolute", "bias")
LAWS, RANK = ("gaussian", "uniform"), re.compile(r"rank-[1-9]\d{0,4}")
MODES = ("paper", "notebook", "notebook-accumulating")
# With 4 noisy instances of 16 generic texts, MiniLM's ranks (8 on average) change from seed to seed
# by 0.6 for the module whose rank changes most. Of fewer texts more instances are taken, so that a
# module is seen about as often. The error of few pairs is itself unsure: with 5, 95% intervals held
# the mean in 88% of cases.
TRIALS = {"paired": 8, "fast": 4, "notebook": 5}
NOISY_TEXTS, MOST_TRIALS = 64, 16


@dataclass(frozen=True)
class ScoringOptions:
    """How to score a model; `adarank_core.score` takes one, or its fields as keyword arguments.

    Parameters
    ----------
    trials : int, optional
        At least 2. For ``"paired"`` independent pairs of noisy models (default 8), for ``"fast"``
        noisy instances, of which all pairs count (default: 64 over the number of texts, but
        from 4 to 16). In the notebook's modes, single noisy models (default 5).
    tolerance : float, optional
        In place of ``trials``, for ``"fast"``: instances are added, four at a time, until the
        rank that would change most with other noise is expected to change by no more than this
        many ranks (`scoring.error_bars.expected_rank_change`), or there are 128. How many it
        took is in ``Scores.trials``.
    average_rank : float
        The budget of those ranks.
    estimator : {"fast", "paired"}
        Two estimators of the same ``d_m``. ``"paired"`` is the paper to the letter: pairs of
        models with the same noise for all texts, two full forward passes a pair. ``"fast"`` runs
        only what follows the noisy module, draws the noise where the module meets its inputs
        (`scoring.noise.activation_noise`), anew for every text, runs all instances as one
        batch and compares all of them with each other.
    mode : {"paper", "notebook", "notebook-accumulating"}
        The latter two are the published notebook with and without a real reset; see
        `adarank_core.scoring.notebook.notebook`. They have no fast estimator.
    scan : {"forward", "reversed"}
        Order of the layers in the notebook's modes.
    noise : str
        The law of the noise, as words joined by commas: ``"gaussian"`` or ``"uniform"`` (with the
        same deviation), ``"absolute"`` where ``noise_scale`` is the deviation itself and not its
        ratio to that of the weight, ``"bias"`` where the bias is noisy, too.
    noise_scale : float
        Above 0.
    reproducible : bool
        Whether noise is drawn on the CPU, so that every device gets the same numbers, and not on
        the model's device.
    modules : str, optional
        Regular expression; only modules whose full name it matches somewhere are scored.
    seed : int
        Draws the noise, and what is drawn of a classifier's head.
    max_length : int
        Longer texts are cut to this many tokens.
    precision : {"auto", "float32", "bfloat16"}
        Of the fast estimator's matrix products; ``"auto"`` takes bfloat16 where the machine
        computes in it natively and the model runs in it. Noise, its factors and differences are
        never below float32.
    head_draw : {"expected", "seed"}
        Of a classifier without a trained head: the expectation over random heads
        (`scoring.heads`), or the head of the seed. A trained head is taken as it is.
    logits : {"last", "all"}, optional
        Of a causal language model: those at the last real token, or those at all of them, a
        text's distance then being the mean over its tokens. Padding never counts. By default all
        of them, which are what its fine-tuning sees.
    vocabulary_sample : int or None
        With the logits at all tokens, how many rows of the vocabulary are drawn, at least 32; their
        draw is in the error. None takes all, and memory for texts × instances × tokens ×
        vocabulary of a batch at once.

    Raises
    ------
    AdaRankError
        If a value is out of range, or two do not go together.

    Examples
    --------
    >>> ScoringOptions(trials=2).estimator
    'fast'
    """

    trials: int | None = None
    tolerance: float | None = None
    average_rank: float = 8
    estimator: str = "fast"
    mode: str = "paper"
    scan: str = "forward"
    noise: str = "gaussian"
    noise_scale: float = 1.0
    reproducible: bool = False
    modules: str | None = None
    seed: int = 0
    max_length: int = 128
    precision: str = "auto"
    logits: str | None = None
    vocabulary_sample: int | None = 2048
    head_draw: str = "expected"

    def __post_init__(self):
        if self.estimator not in ("paired", "fast"):
            raise AdaRankError(f"estimator is {self.estimator!r}; it must be 'paired' or 'fast'")
        if self.mode not in MODES:
            raise AdaRankError(f"mode is {self.mode!r}; it must be one of {', '.join(MODES)}")
        if self.scan not in ("forward", "reversed"):
            raise AdaRankError(f"scan is {self.scan!r}; it must be 'forward' or 'reversed'")
        if self.tolerance is not None:
            self._check_tolerance()
        check_trials(self.trials)
        if not is_number(self.noise_scale, above=0):
            raise AdaRankError(
                f"noise_scale is {quoted(self.noise_scale)}; it must be a number above 0"
            )
        self._check_noise()
        if not is_whole(self.seed, -(2**63), 2**63 - 1):
            raise AdaRankError(f"seed is {quoted(self.seed)}; it must fit into 64 bits")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise AdaRankError(
                f"precision is {self.precision!r}; it must be auto, float32 or bfloat16"
            )
        if self.logits not in (None, "last", "all"):
            raise AdaRankError(f"logits is {self.logits!r}; it must be 'last' or 'all'")
        if self.vocabulary_sample is not None and not is_whole(self.vocabulary_sample, 32, 2**31):
            raise AdaRankError(
                f"vocabulary_sample is {quoted(self.vocabulary_sample)}; it must be at least 32, "
                "or None for the whole vocabulary"
            )
        if self.head_draw not in ("expected", "seed"):
            raise AdaRankError(f"head_draw is {self.head_draw!r}; it must be 'expected' or 'seed'")
        check_max_length(self.max_length)
        if self.modules is not None:
            check_pattern(self.modules, "modules")

    def _check_noise(self) -> None:
        words = self.noise.split(",") if isinstance(self.noise, str) else [None]
        kinds = [word for word in words if word in LAWS or RANK.fullmatch(word or "")]
        known = {*words} <= {*NOISES, *kinds} and len({*words}) == len(words) and len(kinds) < 2
        if not known:
            raise AdaRankError(
                f"noise is {quoted(self.noise)}; it must be words of {', '.join(NOISES)} or rank-8 "
                "(or another rank) joined by commas, such as 'uniform,absolute'"
            )
        if self.noise != "gaussian" and self.mode != "paper":
            raise AdaRankError(
                f"noise is {self.noise!r}, but the notebook's modes know 'gaussian' only"
            )

    def _check_tolerance(self) -> None:
        if self.trials is not None or self.estimator != "fast" or self.mode != "paper":
            raise AdaRankError(
                "tolerance works with the fast estimator in mode 'paper', and in place of trials"
            )
        if not is_number(self.tolerance, above=0):
            raise AdaRankError(
                f"tolerance is {quoted(self.tolerance)}; it must be a number of ranks above 0"
            )
        if not is_number(self.average_rank, above=0):
            raise AdaRankError(f"average_rank is {quoted(self.average_rank)}; it must be above 0")

    def resolved(
        self, texts: int, task_type: str = "SEQ_CLS", device: str = "cpu"
    ) -> "ScoringOptions":
        """Return the same options with each default decided.

        Parameters
        ----------
        texts : int
        task_type : str
        device : torch.device or str
            Those of the model.

        ``trials`` stays open where a tolerance decides.

        Examples
        --------
        >>> [ScoringOptions().resolved(texts).trials for texts in (1, 9, 40)]
        [16, 7, 4]
        """
        estimator = self.estimator if self.mode == "paper" else "paired"
        trials, precision = self.trials, self.precision
        if trials is None and self.tolerance is None:
            trials = TRIALS[estimator if self.mode == "paper" else "notebook"]
            if estimator == "fast":
                trials = max(trials, min(MOST_TRIALS, NOISY_TEXTS // texts))
        if precision == "auto":
            precision = "bfloat16" if bf16_is_native(device) else "float32"
        logits = self.logits or ("last" if task_type == "SEQ_CLS" else "all")
        return replace(self, estimator=estimator, trials=trials, precision=precision, logits=logits)


def check_max_length(max_length: int) -> None:
    """Raise `AdaRankError` unless texts keep at least one token."""
    if not is_whole(max_length, 1, LONGEST):
        raise AdaRankError(
            f"max_length is {quoted(max_length)}; it must be at least 1 and at most {LONGEST:,}"
        )


def check_trials(trials: int | None) -> None:
    """Raise `AdaRankError` unless so many noisy instances give an error bar, and end some day."""
    if trials is not None and not is_whole(trials, 2, 10**6):
        raise AdaRankError(
            f"trials is {quoted(trials)}; an error bar needs at least 2, and 1,000,000 are the most"
        )
    if trials is not None:
        check_limit("trials", trials)
