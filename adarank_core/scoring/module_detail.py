"""One module looked at closely: text by text, its weight, and what its noise reaches."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import TOKENIZING, encode, logits_of, rounding, tokenised
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import AdaptableModule, ModelBundle, adaptable_modules
from adarank_core.scoring.noise import generator_for, module_noise
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.quantised import unpacked
from adarank_core.scoring.score import steps_of

__all__ = ["ByText", "Spectrum", "by_text", "noise_reach", "spectrum", "tokens_of"]

LARGEST = 2**24  # numbers in a weight: 4096 × 4096 takes 2 cores about a minute
REACH_TEXTS, REACH_DRAWS = 16, 4


@dataclass(frozen=True)
class ByText:
    """A module's disagreement, text by text; the mean of ``means`` is its score.

    Parameters
    ----------
    means, errors : tuple of float
        Of every text, in the texts' order: mean distance, and its standard error from noise.
    pairs : numpy.ndarray
        texts × pairs: the distance of every two noisy models. With six noisy models or more the
        means differ a little from theirs: the control of `scoring.error_bars.all_pairs`.
    """

    means: tuple[float, ...]
    errors: tuple[float, ...]
    pairs: np.ndarray


def by_text(bundle: ModelBundle, texts: Texts, name: str, options: ScoringOptions) -> ByText:
    """Score one module again, with the noise that scoring drew, and keep every text's distances.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts
    name : str
        The module's full name.
    options : ScoringOptions
        As they were scored with; a number of trials, not a tolerance.

    Returns
    -------
    ByText

    Raises
    ------
    AdaRankError
        If there is no such module; in the notebook's modes; and as `score` does.

    Examples
    --------
    >>> from adarank_core import generic_texts, load_model
    >>> name = "bert.encoder.layer.5.attention.self.value"
    >>> found = by_text(load_model("embedded"), generic_texts(), name, ScoringOptions(trials=2))
    >>> len(found.means), found.pairs.shape
    (16, (16, 1))
    """
    if options.mode != "paper":
        raise AdaRankError(f"mode is {options.mode!r}; texts are told apart in 'paper' only")
    _module(bundle, name)
    steps, _ = steps_of(bundle, texts, replace(options, modules=f"^{re.escape(name)}$"))
    means, errors, pairs = np.zeros(len(texts)), np.zeros(len(texts)), [()] * len(texts)
    for step in steps:
        places = list(step.places)
        means[places] = step.measured.means.mean(axis=1)
        errors[places] = step.measured.errors
        for place, found in zip(places, step.measured.pairs, strict=True):
            pairs[place] = found
    return ByText(tuple(means.tolist()), tuple(errors.tolist()), np.stack(pairs))


@dataclass(frozen=True)
class Spectrum:
    """A weight's singular values, the largest first, and what noise of its size would have.

    Parameters
    ----------
    values : tuple of float
    noise_edge : float
        About the largest singular value of a matrix of independent numbers with the weight's
        shape and standard deviation ``s``: ``s (sqrt(rows) + sqrt(columns))`` (Marchenko and
        Pastur, 1967; Geman, 1980). It is what scoring adds at a noise scale of 1.
    """

    values: tuple[float, ...]
    noise_edge: float

    @property
    def above_noise(self) -> int:
        """How many singular values stand above those of noise of the same size."""
        return sum(value > self.noise_edge for value in self.values)


def spectrum(bundle: ModelBundle, name: str) -> Spectrum:
    """Return the singular values of a module's weight.

    Raises
    ------
    AdaRankError
        If there is no such module, or its weight is larger than can be taken apart in a minute,
        or is not finite.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> found = spectrum(load_model("embedded"), "bert.encoder.layer.5.attention.self.value")
    >>> len(found.values), found.values[0] > found.noise_edge
    (384, True)
    """
    module = _module(bundle, name)
    size = module.in_features * module.out_features
    if size > LARGEST:
        raise AdaRankError(
            f"the weight of {name!r} has {size:,} numbers; up to {LARGEST:,} are taken apart here"
        )
    weight = unpacked(bundle.model.get_submodule(name), bundle.model.dtype).detach().float()
    if not weight.isfinite().all():
        raise AdaRankError(f"the weight of {name!r} has numbers that are not finite")
    edge = float(weight.std()) * sum(math.sqrt(side) for side in weight.shape)
    return Spectrum(tuple(torch.linalg.svdvals(weight).tolist()), edge)


def noise_reach(
    bundle: ModelBundle, texts: Texts, name: str, options: ScoringOptions
) -> dict[str, float]:
    """Tell which modules noise on one module reaches, and how much it changes what they read.

    Clean and noisy texts go through the model side by side.

    Parameters
    ----------
    bundle, name
    texts : Texts
        The first 16 are looked at.
    options : ScoringOptions
        Tell the noise, the seed and the longest text.

    Returns
    -------
    dict of str to float
        By the name of a module that follows: ``||change of its input|| / ||its input||``, over all
        texts and tokens, and over four draws of the noise. Left out is what noise does not reach,
        and what does not read text by text, such as one expert among others.

    Examples
    --------
    >>> from adarank_core import generic_texts, load_model
    >>> name = "bert.encoder.layer.5.attention.self.value"
    >>> reached = noise_reach(load_model("embedded"), generic_texts(), name, ScoringOptions())
    >>> [one.removeprefix("bert.encoder.layer.") for one in reached]
    ['5.attention.output.dense', '5.intermediate.dense', '5.output.dense']
    """
    module = _module(bundle, name)
    model = prepared(bundle, options.seed)
    layer = model.get_submodule(name)
    noise = module_noise(layer, options, model.dtype)
    shape = (module.out_features, module.in_features)
    texts = replace(texts, items=texts.items[:REACH_TEXTS])
    sums = {one.name: [0.0, 0.0] for one in adaptable_modules(model)}
    dtype = torch.promote_types(model.dtype, torch.float32)
    with torch.inference_mode():
        for batch in encode(bundle, texts, options.max_length):
            both = {key: torch.cat([value, value]) for key, value in batch.items()}
            for draw in range(REACH_DRAWS):
                generator = generator_for(options.seed, f"{name}/reach", draw)
                added = (noise.deviation * noise.weight(shape, generator, dtype)).to(
                    model.device, model.dtype
                )
                with _noisy_half(layer, added), _changes(model, both, sums):
                    logits_of(model, both)
    least = rounding(model)
    found = {one: math.sqrt(moved / size) for one, (moved, size) in sums.items() if size}
    return {one: change for one, change in found.items() if one != name and change > least}


@contextmanager
def _noisy_half(layer: nn.Module, noise: torch.Tensor) -> Iterator[None]:
    """Let a module act with noise on its weight, out × in, for the second half of what it gets."""

    def add(_module, args, output):
        half = len(output) // 2
        return torch.cat([output[:half], output[half:] + args[0][half:] @ noise.T])

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _changes(model: nn.Module, batch: dict, sums: dict[str, list[float]]) -> Iterator[None]:
    """Add to ``sums`` how far the halves of every module's input are apart, and how large one is.

    At padding, nothing that counts is read.
    """
    mask = batch["attention_mask"]
    texts, tokens = mask.shape
    real = mask[: texts // 2, :, None].bool()

    def watch(name):
        def look(_module, args):
            inputs = args[0]
            if len(inputs) not in (texts, texts * tokens):
                return
            clean, noisy = inputs.double().reshape(2, texts // 2, -1, inputs.shape[-1])
            moved = noisy - clean
            if clean.shape[1] == tokens:
                clean, moved = clean * real, moved * real
            sums[name][0] += float(moved.square().sum())
            sums[name][1] += float(clean.square().sum())

        return look

    handles = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in sums]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tokens_of(
    bundle: ModelBundle, texts: Texts, max_length: int = ScoringOptions.max_length
) -> list[list[tuple[str, bool]]]:
    """Return each text's tokens as the model reads them, and which of them are special.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts
    max_length : int
        As in `ScoringOptions`.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> tokens_of(load_model("embedded"), sentence("Ranks"))
    [[('[CLS]', True), ('ranks', False), ('[SEP]', True)]]
    """
    rows = tokenised(bundle, texts.items, max_length)["input_ids"]
    with TOKENIZING:
        special = set(bundle.tokenizer.all_special_ids)
        return [
            [(bundle.tokenizer.convert_ids_to_tokens(one), one in special) for one in row]
            for row in rows
        ]


def _module(bundle: ModelBundle, name: str) -> AdaptableModule:
    found = [module for module in adaptable_modules(bundle.model) if module.name == name]
    if not found:
        raise AdaRankError(f"the model {bundle.name!r} has no module {name!r} that is scored")
    return found[0]
