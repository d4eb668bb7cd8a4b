"""Two estimators of disagreement (Algorithm 2): generators that score module after module."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import logits_of
from adarank_core.scoring.error_bars import (
    Tally,
    all_pairs,
    expected_rank_change,
    over_trials,
)
from adarank_core.scoring.gradients import linear_response
from adarank_core.scoring.heads import Readout, readout
from adarank_core.scoring.models import AdaptableModule, ModelBundle
from adarank_core.scoring.noise import (
    ModuleNoise,
    OutputNoise,
    add_to_output,
    generator_for,
    input_factor,
    module_noise,
)
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.partial_forward import Recording, block_of
from adarank_core.scoring.quantised import is_packed
from adarank_core.scoring.scores import ModuleScore

__all__ = [
    "Step",
    "computes_in_bfloat16",
    "fast",
    "module_score",
    "paired",
]

# The fast estimator's own batches are small: it holds their gradients, and the noisy copies fill a
# pass anyway. Their texts are of like length, for padding costs as much as text.
BATCH_TOKENS = 512
LONGEST_OVER_SHORTEST = 1.25
# A pass has at most this many tokens, all copies counted: more is no faster, only larger.
PASS_TOKENS = 4096
# Where a tolerance decides: the instances of a round, and after how many rounds scoring ends at
# the latest.
ROUND, MOST_ROUNDS = 4, 32


class Measured(NamedTuple):
    """What is known of one module on some texts.

    Parameters
    ----------
    means : numpy.ndarray
        texts × draws.
    variances : numpy.ndarray
        texts: as `scoring.error_bars` tells them, to be added up over texts.
    errors : numpy.ndarray
        texts: standard error of each text's mean over draws.
    pairs : numpy.ndarray
        texts × pairs: the distance of every two noisy models that were compared.
    """

    means: np.ndarray
    variances: np.ndarray
    errors: np.ndarray
    pairs: np.ndarray


class Step(NamedTuple):
    """What an estimator has after one module on one batch of texts.

    Parameters
    ----------
    done, total : int
        Steps taken so far, and in all.
    modules : tuple of ModuleScore
        Those scored so far, in the order of the model.
    trials : int
        Pairs or instances of noisy models that each took.
    head_draw : str or None
        Whose head it was, as `scoring.heads.Readout` tells; None where none was looked at.
    places : tuple of int
        The texts of this step, by their places among the texts as given.
    measured : Measured or None
        Of this step's module on them; None in the notebook's modes.
    """

    done: int
    total: int
    modules: tuple[ModuleScore, ...]
    trials: int
    head_draw: str | None = None
    places: tuple[int, ...] = ()
    measured: Measured | None = None


def paired(
    bundle: ModelBundle,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    positions: list[int],
    options: ScoringOptions,
    sampled: bool,
) -> Iterator[Step]:
    """Score by independent pairs of noisy models: the paper to the letter.

    Parameters
    ----------
    bundle : ModelBundle
    chosen : sequence of AdaptableModule
    batches : list of dict
        As `adarank_core.scoring.encoding.encode` makes them.
    positions : list of int
        Each text's place among the texts as given.
    options : ScoringOptions
        Resolved.
    sampled : bool
        Whether the texts are a sample, whose draw the error covers.

    Yields
    ------
    Step
    """
    outputs, results = readout(bundle, options, batches[0]), []
    for module in chosen:
        tally = Tally(len(positions), outputs.draws, outputs.unseen)
        with torch.inference_mode():
            noise = module_noise(
                outputs.model.get_submodule(module.name), options, outputs.model.dtype
            )
            distances = _paired_distances(outputs, module, noise, batches, options)
        found = _of_trials(distances)
        tally.add(positions, found.means, found.variances)
        results.append(module_score(module, tally.mean(), tally.error(sampled)))
        yield Step(
            len(results),
            len(chosen),
            tuple(results),
            options.trials,
            outputs.head_draw,
            tuple(positions),
            found,
        )


def _of_trials(distances: np.ndarray) -> Measured:
    """Sum up trials × texts × draws distances."""
    pairs = distances.mean(axis=2).T
    errors = pairs.std(axis=1, ddof=1) / len(distances) ** 0.5
    return Measured(*over_trials(distances), errors, pairs)


def _paired_distances(
    outputs: Readout,
    module: AdaptableModule,
    noise: ModuleNoise,
    batches: list[dict],
    options: ScoringOptions,
    first: int = 0,
) -> np.ndarray:
    """Return trials × texts × draws distances of a module, with noise of trials from ``first``."""
    model, name = outputs.model, module.name
    layer, dtype = model.get_submodule(name), torch.promote_types(model.dtype, torch.float32)
    shape = (module.out_features, module.in_features)
    shape = shape if isinstance(layer, nn.Linear) else shape[::-1]

    def noisy_logits(instance):
        generator = generator_for(options.seed, name, instance, device=_drawing(model, options))
        weight = noise.deviation * noise.weight(shape, generator, dtype)
        bias = None
        if noise.bias_deviation:
            bias = noise.standard((module.out_features,), generator, dtype)
            bias = (noise.bias_deviation * bias).to(model.device, model.dtype)
        with add_to_output(layer, weight.to(model.device, model.dtype), bias):
            return [logits_of(model, batch) for batch in batches]

    # Batch by batch: the logits at all tokens are as many as the batch's longest text has.
    distances = [
        torch.cat(
            [
                outputs.distances(torch.stack([one, other], dim=1))[:, :, 0, 1]
                for one, other in zip(
                    noisy_logits(2 * trial), noisy_logits(2 * trial + 1), strict=True
                )
            ]
        )
        for trial in range(first, first + options.trials)
    ]
    distances = torch.stack(distances).cpu().numpy()
    if not distances.any():
        _check_called(model, name, batches[0])
    return distances


def _drawing(model: nn.Module, options: ScoringOptions) -> torch.device | str:
    """Return the device that noise is drawn on."""
    return "cpu" if options.reproducible else model.device


def _check_called(model: nn.Module, name: str, batch: dict) -> None:
    """Refuse a module that matters though it is never called, so that no noise comes in.

    Such as Mamba's ``dt_proj``, whose weight is read without a call: LoRA would do nothing on it.
    """
    layer = model.get_submodule(name)
    calls, own = [], layer.weight
    handle = layer.register_forward_hook(lambda *_call: calls.append(name))
    clean = logits_of(model, batch)
    handle.remove()
    if calls:
        return
    noise = torch.randn(own.shape, generator=generator_for(0, name)) * own.float().std().cpu()
    layer.weight = nn.Parameter(own + noise.to(own), requires_grad=False)
    try:
        moved = not logits_of(model, batch).equal(clean)
    finally:
        layer.weight = own
    if moved:
        raise AdaRankError(
            f"the model reads the weight of {name!r} without calling the module, so that LoRA on "
            f"it would do nothing; leave it out with --modules '^(?!.*{name.rpartition('.')[2]}$)'"
        )


def computes_in_bfloat16(bundle: ModelBundle, batch: dict) -> bool:
    """Tell whether a model gives finite logits with its matrix products in bfloat16.

    Not every model does: some write such a product into a tensor of float32.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> from adarank_core.scoring.encoding import encode
    >>> bundle = load_model("embedded")
    >>> computes_in_bfloat16(bundle, encode(bundle, sentence("What is a rank?"))[0])
    True
    """
    try:
        with _computing(bundle.model, ScoringOptions(precision="bfloat16")):
            return bool(logits_of(bundle.model, batch).isfinite().all())
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever a model raises where a product's type is not the weights'
        return False


def fast(
    bundle: ModelBundle,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    positions: list[int],
    options: ScoringOptions,
    sampled: bool,
) -> Iterator[Step]:
    """Score by running only what follows the noisy module, all instances and pairs at once.

    Where a tolerance decides, rounds of a few instances go on until the ranks are expected to
    change by no more, and else there is one round.

    Parameters
    ----------
    bundle, chosen, batches, positions, options, sampled
        As in `paired`; a text's noise depends on its position.

    Yields
    ------
    Step
    """
    tolerance, rounds = options.tolerance, 1
    if tolerance is not None:
        options, rounds = replace(options, tolerance=None, trials=ROUND), MOST_ROUNDS
    outputs = readout(bundle, options, batches[0])
    model = outputs.model
    laws = {m.name: module_noise(model.get_submodule(m.name), options, model.dtype) for m in chosen}
    if model.dtype != torch.float32:
        options = replace(options, precision="float32")  # products stay in the model's own type
    if options.precision == "bfloat16":
        for layer in (layer for layer in map(model.get_submodule, laws) if not is_packed(layer)):
            # Once: autocast would convert it in every pass.
            layer.weight = nn.Parameter(layer.weight.bfloat16(), requires_grad=False)
    batches = [part for batch in batches for part in _smaller_batches(batch)]
    tallies = {name: Tally(len(positions), outputs.draws, outputs.unseen) for name in laws}
    scored: dict[str, ModuleScore] = {}
    replayed: set[str] | None = None  # where going on from a module is right, tried once
    done, in_round = 0, len(chosen) * len(batches)
    for number in range(rounds):
        left = iter(positions)
        for batch in batches:
            places = list(islice(left, len(batch["input_ids"])))
            with _computing(model, options):
                recording = Recording(model, batch, list(laws), logits_of)
                replayed = recording.faithful(list(laws)) if replayed is None else replayed
            by_module = _batch_distances(
                outputs, recording, chosen, laws, replayed, places, options, number
            )
            for module, found in by_module:
                tally = tallies[module.name]
                tally.add(places, found.means, found.variances)
                scored[module.name] = module_score(module, tally.mean(), tally.error(sampled))
                done += 1
                ended = done == in_round * (number + 1) and (
                    number + 1 == rounds or _rank_change(tallies, options) <= tolerance
                )
                yield Step(
                    done,
                    done if ended else max(done + 1, in_round * rounds),
                    tuple(scored[m.name] for m in chosen if m.name in scored),
                    options.trials * (number + 1),
                    outputs.head_draw,
                    tuple(places),
                    found,
                )
        if ended:
            return


def _rank_change(tallies: dict[str, Tally], options: ScoringOptions) -> float:
    """Return by how much the rank that changes most would change with other noise."""
    return expected_rank_change(
        [tally.mean() for tally in tallies.values()],
        [tally.error() for tally in tallies.values()],
        options.average_rank,
    )


def _batch_distances(
    outputs: Readout,
    recording: Recording,
    chosen: Sequence[AdaptableModule],
    laws: dict[str, ModuleNoise],
    replayed: set[str],
    places: list[int],
    options: ScoringOptions,
    round_: int,
) -> Iterator[tuple[AdaptableModule, Measured]]:
    """Yield each module with what was found of it, block by block."""
    for _, members in groupby(chosen, lambda module: block_of(module.name)):
        members = list(members)
        with _computing(recording.model, options):
            distances = _block_distances(
                outputs, recording, members, laws, replayed, places, options, round_
            )
        for module in members:
            yield module, distances[module.name]


def _smaller_batches(batch: dict) -> Iterator[dict]:
    """Split a batch of texts sorted by length into ones of few tokens and little padding."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    start = 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths):
            longer = lengths[end] > LONGEST_OVER_SHORTEST * lengths[start]
            if not longer and (end + 1 - start) * lengths[end] <= BATCH_TOKENS:
                continue
        needed = batch["attention_mask"][start:end].any(dim=0)
        yield {key: value[start:end][:, needed] for key, value in batch.items()}
        start = end


def _block_distances(
    outputs: Readout,
    recording: Recording,
    members: list[AdaptableModule],
    laws: dict[str, ModuleNoise],
    replayed: set[str],
    places: list[int],
    options: ScoringOptions,
    round_: int,
) -> dict[str, Measured]:
    """Return what was found of the modules of one block."""
    result, noises, linear, values = {}, {}, {}, {}
    factors, device = _Factors(recording), _drawing(recording.model, options)
    for module in members:
        name = module.name
        if name not in replayed or not recording.is_replayable(name):
            first = options.trials * round_
            batches = [recording.batch]
            distances = _paired_distances(outputs, module, laws[name], batches, options, first)
            result[name] = _of_trials(distances)
            continue
        generators = [generator_for(options.seed, name, round_, text, device) for text in places]
        with torch.autocast(recording.model.device.type, enabled=False):
            inputs, factor, mask = factors.of(name)
            noises[name] = OutputNoise(
                laws[name], inputs, mask, factor, module.out_features, generators
            )
        values[name], linear[name] = [], []
    tokens = sum(noise.mask.numel() for noise in noises.values())
    step = max(1, PASS_TOKENS // max(1, tokens))
    for start in range(0, options.trials if noises else 0, step):
        copies = min(step, options.trials - start)
        # Noise is never below float32: what is in bfloat16 are the model's own products.
        with torch.autocast(recording.model.device.type, enabled=False):
            added = {name: noise.draw(copies) for name, noise in noises.items()}
            for name in added:
                if _is_controlled(outputs, recording, options, name):
                    gradient, factor = recording.gradients[name], noises[name].factor
                    linear[name].append(linear_response(gradient, added[name], factor))
        for name, found in recording.logits_with(added).items():
            values[name].append(found)
    for name in noises:
        distances, control = outputs.distances(torch.cat(values[name], dim=1)), ()
        if linear[name]:
            moved, expected = zip(*linear[name], strict=True)
            control = (torch.cat(moved, dim=1), expected[0])
        ones, others = np.triu_indices(options.trials, 1)
        pairs = distances.mean(dim=1).cpu().numpy()[:, ones, others]
        means, variances = all_pairs(distances, *control)
        result[name] = Measured(means, variances, variances**0.5, pairs)
    return result


def _is_controlled(
    outputs: Readout, recording: Recording, options: ScoringOptions, name: str
) -> bool:
    """Tell whether a linear model of the logits is known, whose distances have a known mean."""
    return outputs.norm == 1 and options.noise == "gaussian" and name in recording.gradients


class _Factors:
    """The input factor of the newest input: query, key and value share one."""

    def __init__(self, recording: Recording):
        self.recording, self.mask = recording, recording.batch["attention_mask"]
        self.inputs = self.factor = self.fitting = None

    def of(self, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the inputs, their factor and their mask, 0 at padding."""
        inputs = self.recording.input_of(name)
        same = self.inputs is not None and self.inputs.data_ptr() == inputs.data_ptr()
        if not same or self.inputs.shape != inputs.shape:
            same_tokens = self.mask.shape[1] == inputs.shape[1]
            mask = self.mask if same_tokens else torch.ones(inputs.shape[:2], device=inputs.device)
            self.inputs, self.factor, self.fitting = inputs, input_factor(inputs, mask), mask
        return self.inputs, self.factor, self.fitting


@contextmanager
def _computing(model: nn.Module, options: ScoringOptions) -> Iterator[None]:
    """Compute without gradients, and matrix products in bfloat16 where asked."""
    lower = options.precision == "bfloat16"
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=lower),
    ):
        yield


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
