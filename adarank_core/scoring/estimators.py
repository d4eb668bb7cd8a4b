"""Two estimators of disagreement (Algorithm 2): generators that score module after module."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice

import numpy as np
import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.scoring.error_bars import (
    Tally,
    all_pairs,
    expected_rank_change,
    mean_and_error,
    shared,
)
from adarank_core.scoring.gradients import linear_response
from adarank_core.scoring.models import AdaptableModule, ModelBundle, fresh_head
from adarank_core.scoring.noise import (
    activation_noise,
    add_to_output,
    generator_for,
    input_factor,
    weight_noise,
)
from adarank_core.scoring.partial_forward import Recording, block_of, private_copy
from adarank_core.scoring.scores import ModuleScore, Scores

__all__ = [
    "Progress",
    "fast",
    "logits_of",
    "module_score",
    "paired",
    "prepared",
]

BATCH_SIZE = 16
# The fast estimator's own batches are small: it holds their gradients, and the noisy copies fill a
# pass anyway. Their texts are of like length, for padding costs as much as text.
BATCH_TOKENS = 512
LONGEST_OVER_SHORTEST = 1.25
# A pass has at most this many tokens, all copies counted: more is no faster, only larger.
PASS_TOKENS = 4096
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
        As `adarank_core.scoring.score.encode` makes them.
    so_far : Scores
        Without modules; holds the options.

    Yields
    ------
    Progress
    """
    model, results = prepared(bundle, so_far.seed), []
    for module in chosen:
        with torch.inference_mode():
            weight = model.get_submodule(module.name).weight
            distances = _paired_distances(model, module.name, weight, batches, so_far)
        results.append(module_score(module, *mean_and_error(distances)))
        yield Progress(len(results), len(chosen), replace(so_far, modules=tuple(results)))


def _paired_distances(
    model: nn.Module,
    name: str,
    weight: torch.Tensor,
    batches: list[dict],
    options: Scores,
    first: int = 0,
) -> np.ndarray:
    """Return trials × texts L1 distances of one module, with the noise of trials from ``first``."""
    layer = model.get_submodule(name)

    def noisy_logits(instance):
        generator = generator_for(options.seed, name, instance)
        noise = weight_noise(weight, options.noise_scale, generator)
        with add_to_output(layer, noise):
            return [logits_of(model, batch) for batch in batches]

    # Batch by batch: the logits at all tokens are as many as the batch's longest text has.
    distances = [
        torch.cat(
            [
                (one - other).abs().sum(dim=1)
                for one, other in zip(
                    noisy_logits(2 * trial), noisy_logits(2 * trial + 1), strict=True
                )
            ]
        )
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
    weights = {m.name: bundle.model.get_submodule(m.name).weight.detach() for m in chosen}
    lower = precision == "bfloat16" and model.dtype == torch.float32
    if lower:
        for name, weight in weights.items():  # once: autocast would convert them in every pass
            own = nn.Parameter(weight.bfloat16(), requires_grad=False)
            model.get_submodule(name).weight = own
    tallies = {name: Tally(len(positions)) for name in weights}
    found: dict[str, ModuleScore] = {}
    batches = [part for batch in batches for part in _smaller(batch)]
    steps = len(chosen) * len(batches)
    most = 1 if tolerance is None else MOST_ROUNDS
    done = 0
    for round_ in range(most):
        trials = so_far.trials * (round_ + 1)
        left = iter(positions)
        for batch in batches:
            places = list(islice(left, len(batch["input_ids"])))
            with _computing(model, lower):
                recording = Recording(model, batch, list(weights), logits_of)
            for _, members in groupby(chosen, lambda module: block_of(module.name)):
                members = list(members)
                with _computing(model, lower):
                    distances = _distances(recording, members, weights, places, so_far, round_)
                for module in members:
                    tally = tallies[module.name]
                    tally.add(places, *distances[module.name])
                    found[module.name] = module_score(module, *tally.mean_and_error())
                    known = tuple(found[m.name] for m in chosen if m.name in found)
                    scores = replace(so_far, modules=known, trials=trials)
                    done += 1
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


def _smaller(batch: dict) -> Iterator[dict]:
    """Split a batch of texts sorted by length into ones of few tokens and little padding."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    start = 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths):
            longer = lengths[end] > LONGEST_OVER_SHORTEST * lengths[start]
            if not longer and (end + 1 - start) * lengths[end] <= BATCH_TOKENS:
                continue
        yield {key: value[start:end, : lengths[end - 1]] for key, value in batch.items()}
        start = end


def _distances(
    recording: Recording,
    members: list[AdaptableModule],
    weights: dict[str, torch.Tensor],
    places: list[int],
    options: Scores,
    round_: int,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each text's mean distance and its variance, for the modules of one block."""
    result, noises, linear = {}, {}, {}
    factors = _Factors(recording)
    for module in members:
        name, weight = module.name, weights[module.name]
        if not recording.is_replayable(name):
            first = options.trials * round_
            batches = [recording.batch]
            distances = _paired_distances(recording.model, name, weight, batches, options, first)
            result[name] = shared(distances)
            continue
        scale = options.noise_scale * weight.double().std()
        # Noise is never below float32: what is in bfloat16 are the model's own products.
        with torch.autocast(weight.device.type, enabled=False):
            factor, lengths = factors.of(name)
            noises[name] = activation_noise(
                factor * scale,
                lengths,
                module.out_features,
                options.trials,
                [generator_for(options.seed, name, round_, text) for text in places],
                torch.promote_types(weight.dtype, torch.float32),
            )
            if name in recording.gradients:
                gradient = recording.gradients[name]
                linear[name] = linear_response(gradient, noises[name], factor * scale)
    tokens = sum(noise.shape[0] * noise.shape[2] for noise in noises.values())
    step = max(1, PASS_TOKENS // max(1, tokens))
    parts = [
        recording.logits_with({n: noise[:, at : at + step] for n, noise in noises.items()})
        for at in range(0, options.trials if noises else 0, step)
    ]
    for name in noises:
        logits = torch.cat([part[name] for part in parts], dim=1)
        result[name] = all_pairs(logits, *linear.get(name, ()))
    return result


class _Factors:
    """The input factor of the newest input: query, key and value share one."""

    def __init__(self, recording: Recording):
        self.recording, self.mask = recording, recording.batch["attention_mask"]
        self.inputs = self.factor = self.lengths = None

    def of(self, name: str) -> tuple[torch.Tensor, list[int]]:
        """Return the factor and each text's number of real tokens."""
        inputs = self.recording.input_of(name)
        same = self.inputs is not None and self.inputs.data_ptr() == inputs.data_ptr()
        if not same or self.inputs.shape != inputs.shape:
            fitting = self.mask.shape[1] == inputs.shape[1]
            mask = self.mask if fitting else torch.ones(inputs.shape[:2], device=inputs.device)
            self.inputs, self.factor = inputs, input_factor(inputs, mask)
            self.lengths = mask.sum(dim=1).int().tolist()
        return self.factor, self.lengths


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
def _computing(model: nn.Module, lower: bool) -> Iterator[None]:
    """Compute without gradients, and matrix products in bfloat16 where asked."""
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
    if not getattr(model, "gives_all_logits", False) and _keeps(type(model)):
        # A vocabulary is large: no logits at tokens that are last in no text.
        last, at = (batch["attention_mask"].sum(dim=1) - 1).unique(return_inverse=True)
        logits = model(**batch, logits_to_keep=last).logits
    else:
        logits = model(**batch).logits
        at = batch["attention_mask"].sum(dim=1) - 1
    if logits.dim() == 3:
        logits = logits[torch.arange(len(at), device=at.device), at]
    return logits if logits.dtype == torch.float64 else logits.float()


@cache
def _keeps(model_class: type) -> bool:
    """Tell whether a language model can be asked for the logits at some tokens only."""
    return "logits_to_keep" in inspect.signature(model_class.forward).parameters


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
