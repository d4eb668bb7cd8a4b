"""Two estimators of disagreement (Algorithm 2): generators that score module after module."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.models import AdaptableModule, ModelBundle, fresh_head
from adarank_core.noise import (
    activation_noise,
    add_to_output,
    generator_for,
    input_factor,
    weight_noise,
)
from adarank_core.replay import Recording, private_copy
from adarank_core.scores import ModuleScore, Scores

__all__ = [
    "Progress",
    "all_pairs",
    "expected_rank_change",
    "fast",
    "logits_of",
    "mean_and_error",
    "module_score",
    "paired",
    "prepared",
]

BATCH_SIZE = 16
# A pass of the fast estimator holds at most this many tokens: more is no faster, only larger.
PASS_TOKENS = 8192
# Where a tolerance decides, scoring ends after this many rounds of instances at the latest.
MOST_ROUNDS = 32


@dataclass(frozen=True)
class Progress:
    """How far scoring has come.

    Parameters
    ----------
    done, total : int
        Steps taken so far, and in all; a step is one module on one batch of texts.
    scores : Scores
        Of the modules scored so far; the last one yielded is the result.
    """

    done: int
    total: int
    scores: Scores


def paired(
    bundle: ModelBundle, chosen: Sequence[AdaptableModule], batches: list[dict], so_far: Scores
) -> Iterator[Progress]:
    """Score by independent pairs of noisy models: the paper to the letter.

    Parameters
    ----------
    bundle : ModelBundle
    chosen : sequence of AdaptableModule
    batches : list of dict
        As `adarank_core.scoring.encode` makes them.
    so_far : Scores
        Without modules; holds the options.

    Yields
    ------
    Progress
    """
    model, results = prepared(bundle, so_far.seed), []
    for module in chosen:
        with torch.inference_mode():
            distances = _paired_distances(model, module.name, batches, so_far)
        results.append(module_score(module, *mean_and_error(distances)))
        yield Progress(len(results), len(chosen), replace(so_far, modules=tuple(results)))


def _paired_distances(
    model: nn.Module, name: str, batches: list[dict], options: Scores, first: int = 0
) -> np.ndarray:
    """Return trials × texts L1 distances of one module, with the noise of trials from ``first``."""
    layer = model.get_submodule(name)

    def noisy_logits(instance):
        generator = generator_for(options.seed, name, instance)
        noise = weight_noise(layer.weight, options.noise_scale, generator)
        with add_to_output(layer, noise):
            return torch.cat([logits_of(model, batch) for batch in batches])

    distances = [
        (noisy_logits(2 * trial) - noisy_logits(2 * trial + 1)).abs().sum(dim=1)
        for trial in range(first, first + options.trials)
    ]
    return torch.stack(distances).double().cpu().numpy()


def fast(
    bundle: ModelBundle,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    positions: list[int],
    precision: str,
    so_far: Scores,
    tolerance: float | None = None,
    average_rank: float = 8,
) -> Iterator[Progress]:
    """Score by running only what follows the noisy module, all instances and pairs at once.

    Parameters
    ----------
    bundle, chosen, batches, so_far
        As in `paired`; ``so_far.trials`` is the number of instances in a round.
    positions : list of int
        Each text's place among the texts as given: its noise depends on it.
    precision : {"float32", "bfloat16"}
    tolerance : float, optional
        Rounds go on until the ranks are expected to change by no more; see
        `expected_rank_change`. Without it there is one round.
    average_rank : float
        The budget of those ranks.

    Yields
    ------
    Progress
    """
    model = prepared(bundle, so_far.seed)
    tallies = {module.name: _Tally(len(positions)) for module in chosen}
    steps = len(chosen) * len(batches)
    most = 1 if tolerance is None else MOST_ROUNDS
    done = 0
    for round_ in range(most):
        trials = so_far.trials * (round_ + 1)
        for number, batch in enumerate(batches):
            places = positions[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
            with _computing(model, precision):
                recording = Recording(model, batch, list(tallies), logits_of)
                factors = _Factors(recording, batch["attention_mask"])
            for name, tally in tallies.items():
                with _computing(model, precision):
                    if recording.is_replayable(name):
                        logits = _noisy_logits(recording, factors, name, places, so_far, round_)
                        tally.add(places, *all_pairs(logits))
                    else:
                        first = so_far.trials * round_
                        distances = _paired_distances(model, name, [batch], so_far, first)
                        tally.add(places, *_shared(distances))
                done += 1
                results = tuple(
                    module_score(module, *tallies[module.name].mean_and_error())
                    for module in chosen
                    if tallies[module.name].counts.any()
                )
                scores = replace(so_far, modules=results, trials=trials)
                ended = done == steps * (round_ + 1) and (
                    round_ + 1 == most
                    or expected_rank_change(
                        [tally.mean() for tally in tallies.values()],
                        [tally.noise_error() for tally in tallies.values()],
                        average_rank,
                    )
                    <= tolerance
                )
                yield Progress(done, done if ended else max(done + 1, steps * most), scores)
                if ended:
                    return


class _Tally:
    """What is known of one module: by text, the mean distance and its variance over instances."""

    def __init__(self, texts: int):
        self.sums, self.variances, self.counts = np.zeros(texts), np.zeros(texts), np.zeros(texts)

    def add(self, places: Sequence[int], means: np.ndarray, variances: np.ndarray) -> None:
        """Take in another round of instances of some texts."""
        self.sums[places] += means
        self.variances[places] += variances
        self.counts[places] += 1

    def mean(self) -> float:
        known = self.counts > 0
        return float((self.sums[known] / self.counts[known]).mean())

    def noise_error(self) -> float:
        """Return the standard error for these very texts: from the instances alone."""
        known = self.counts > 0
        variances = self.variances[known] / self.counts[known] ** 2
        return float(variances.sum() ** 0.5 / known.sum())

    def mean_and_error(self) -> tuple[float, float]:
        """Return the mean over texts and its standard error, from texts and instances.

        The texts' noise is independent, so the variance of their means holds both sources; with
        few texts it may fall below that of the instances alone, which then counts.
        """
        known = self.counts > 0
        count = known.sum()
        means = self.sums[known] / self.counts[known]
        from_both = means.var(ddof=1) / count if count > 1 else 0.0
        return float(means.mean()), max(self.noise_error(), float(from_both**0.5))


def _shared(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and variances by text where all texts share their noise (trials × texts).

    The variances are such that their sum over the squared number of texts is the variance of the
    mean over texts, though the texts' noise is not independent.
    """
    trials, texts = distances.shape
    variance = distances.mean(axis=1).var(ddof=1) / trials
    return distances.mean(axis=0), np.full(texts, variance * texts)


def expected_rank_change(
    scores: Sequence[float], errors: Sequence[float], average_rank: float
) -> float:
    """Return by how much the rank that changes most would change with other noise, on average.

    Ranks are proportional to scores: a module of score ``d`` gets ``d n average_rank / sum of d``
    of ``n`` modules. Two scorings differ by a normal number of deviation ``sqrt(2)`` times the
    standard error, whose mean size is ``2 / sqrt(pi)`` standard errors.

    Parameters
    ----------
    scores, errors : sequence of float
        Of all modules; errors from noise alone.
    average_rank : float

    Returns
    -------
    float
        In ranks; infinity where all scores are 0.

    Examples
    --------
    >>> round(expected_rank_change([1.0, 3.0], [0.1, 0.1], 8), 3)
    0.451
    """
    total = math.fsum(scores)
    if total == 0:
        return math.inf
    return 2 / math.sqrt(math.pi) * max(errors) * len(scores) * average_rank / total


class _Factors:
    """The input factor of the newest input: query, key and value share one."""

    def __init__(self, recording: Recording, mask: torch.Tensor):
        self.recording, self.mask = recording, mask
        self.inputs = self.factor = None

    def of(self, name: str) -> torch.Tensor:
        inputs = self.recording.input_of(name)
        same = self.inputs is not None and self.inputs.data_ptr() == inputs.data_ptr()
        if not same or self.inputs.shape != inputs.shape:
            fitting = self.mask.shape[1] == inputs.shape[1]
            mask = self.mask if fitting else torch.ones(inputs.shape[:2], device=inputs.device)
            self.inputs, self.factor = inputs, input_factor(inputs, mask)
        return self.factor


def _noisy_logits(
    recording: Recording,
    factors: _Factors,
    name: str,
    positions: list[int],
    options: Scores,
    round_: int,
) -> torch.Tensor:
    """Return texts × instances × logits of one module, each text with noise of its own."""
    weight = recording.model.get_submodule(name).weight
    is_linear = isinstance(recording.model.get_submodule(name), nn.Linear)
    factor = factors.of(name)
    tokens = factor.shape[1]
    lengths = (factor.diagonal(dim1=1, dim2=2) > 0).sum(dim=1).tolist()
    deviation = options.noise_scale * weight.double().std()
    noise = activation_noise(
        factor * deviation,
        lengths,
        weight.shape[0] if is_linear else weight.shape[1],
        options.trials,
        [generator_for(options.seed, name, round_, text) for text in positions],
        torch.promote_types(weight.dtype, torch.float32),
    )
    step = max(1, PASS_TOKENS // (len(lengths) * tokens))
    parts = [recording.logits_with(name, part) for part in noise.split(step, dim=1)]
    return torch.cat(parts, dim=1)


def all_pairs(logits: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return each text's mean distance over all pairs of instances, and its variance.

    Parameters
    ----------
    logits : torch.Tensor
        texts × instances × logits; at least 2 instances.

    Returns
    -------
    tuple of numpy.ndarray
        Means and variances, one a text, float64. The variance is the jackknife's over instances;
        with 2 instances, which leave nothing to jackknife, it is that of the distance of two
        normal numbers, ``(pi / 2 - 1) * mean²``.

    Examples
    --------
    >>> all_pairs(torch.tensor([[[0.0], [1.0], [3.0]]]))
    (array([2.]), array([1.33333333]))
    """
    distances = torch.cdist(logits.double(), logits.double(), p=1)
    count = logits.shape[1]
    by_instance = distances.sum(dim=2)
    total = by_instance.sum(dim=1)
    mean = total / (count * (count - 1))
    if count == 2:
        variance = (np.pi / 2 - 1) * mean**2
    else:
        without = (total[:, None] - 2 * by_instance) / ((count - 1) * (count - 2))
        variance = (count - 1) / count * ((without - mean[:, None]) ** 2).sum(dim=1)
    return mean.cpu().numpy(), variance.cpu().numpy()


def mean_and_error(distances: np.ndarray) -> tuple[float, float]:
    """Return the mean of a trials × texts table and its standard error.

    Both trials and texts are samples: the error is that of a two-way layout,
    ``Var = s²_trials / n + s²_texts / m - s²_residual / (n m)``, with ``s²_trials`` the variance
    of the trials' means (and so on). With one text it is that of the trials alone.

    Parameters
    ----------
    distances : numpy.ndarray
        n trials × m texts, n at least 2.

    Returns
    -------
    tuple of float
        Mean and standard error, in the unit of ``distances``.

    Examples
    --------
    >>> mean_and_error(np.array([[1.0], [3.0]]))
    (2.0, 1.0)
    """
    trials, texts = distances.shape
    mean = distances.mean()
    from_trials = distances.mean(axis=1).var(ddof=1) / trials
    if texts == 1:
        return float(mean), float(from_trials**0.5)
    from_texts = distances.mean(axis=0).var(ddof=1) / texts
    residual = distances - distances.mean(axis=1, keepdims=True) - distances.mean(axis=0) + mean
    shared = (residual**2).sum() / ((trials - 1) * (texts - 1)) / (trials * texts)
    variance = max(from_trials + from_texts - shared, from_trials, from_texts)
    return float(mean), float(variance**0.5)


def prepared(bundle: ModelBundle, seed: int) -> nn.Module:
    """Return a private copy of a model, in evaluation mode and with the head of the seed.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> bundle = load_model("embedded")
    >>> prepared(bundle, seed=0).base_model.pooler.dense.weight is (
    ...     bundle.model.base_model.pooler.dense.weight)
    True
    """
    model = private_copy(bundle.model)
    for name, head in fresh_head(bundle.model, seed).items():
        setattr(model, name, head)
    return model


@contextmanager
def _computing(model: nn.Module, precision: str) -> Iterator[None]:
    """Compute without gradients; in float32 models, with matrix products as asked."""
    lower = precision == "bfloat16" and next(model.parameters()).dtype == torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=lower),
    ):
        yield


def logits_of(model: nn.Module, batch: dict) -> torch.Tensor:
    """Return the logits that count: texts × labels, or texts × vocabulary at the last real token.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    batch : dict
        As `encode` makes it.

    Returns
    -------
    torch.Tensor
        float32 or float64; never a lower precision.
    """
    logits = model(**batch).logits
    if logits.dim() == 3:
        last = batch["attention_mask"].sum(dim=1) - 1
        logits = logits[torch.arange(len(last), device=last.device), last]
    return logits if logits.dtype == torch.float64 else logits.float()


def module_score(module: AdaptableModule, score: float, error: float) -> ModuleScore:
    """Return a module's score, refusing one that is no number.

    Raises
    ------
    AdaRankError
        If the score is not finite.
    """
    if not np.isfinite(score):
        raise AdaRankError(
            f"the logits are not finite when {module.name!r} is noisy; the weights may be broken, "
            "or noise_scale too large"
        )
    return ModuleScore(**vars(module), score=score, standard_error=error)
