"""The noise on one module: drawn for its weight, or for what the weight does to given inputs.

The pretrained weights are never written. A module's noise depends on the seed, the module's name
and the number of the instance (or text) alone, so that neither the order in which modules are
scanned nor how they are split over processes changes any score.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from adarank_core.hardware import in_double
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.quantised import unpacked

__all__ = [
    "ModuleNoise",
    "OutputNoise",
    "activation_noise",
    "add_to_output",
    "deviation",
    "generator_for",
    "input_factor",
    "module_noise",
    "weight_noise",
]

# How many entries of a weight are looked at once: its deviation takes no copy of its size.
CHUNK = 2**22

# Added to the diagonal of the Gram matrix over its largest entry: equal tokens make it singular.
JITTER = 1e-10


def generator_for(
    seed: int, name: str, instance: int = 0, text: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the random generator of one noisy instance of one module.

    Parameters
    ----------
    seed : int
        The run's seed.
    name : str
        Full path of the module.
    instance : int
        Counts the noisy instances of this module (or rounds of them), from 0.
    text : int
        Counts the texts, from 0, where each text has noise of its own.
    device : torch.device or str
        Where it draws; the same seed gives other numbers on another kind of device.

    Returns
    -------
    torch.Generator
        Seeded by a hash of the first four.

    Examples
    --------
    >>> first = torch.rand(1, generator=generator_for(0, "query"))
    >>> bool(first == torch.rand(1, generator=generator_for(0, "query")))
    True
    """
    digest = hashlib.sha256(f"{seed}/{name}/{instance}/{text}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def deviation(weight: torch.Tensor) -> float:
    """Return the standard deviation of a weight's entries, computed in float64, part by part.

    Examples
    --------
    >>> deviation(torch.tensor([[1.0, 3.0]])) == 2**0.5
    True
    """
    if weight.numel() <= CHUNK:
        return float(in_double(weight.detach()).std())
    parts = weight.detach().reshape(-1).split(CHUNK)
    count = weight.numel()
    mean = sum(float(in_double(part).sum()) for part in parts) / count
    squares = sum(float(((in_double(part) - mean) ** 2).sum()) for part in parts)
    return math.sqrt(squares / (count - 1))


@dataclass(frozen=True)
class ModuleNoise:
    """The law of the noise on one module.

    Parameters
    ----------
    deviation : float
        Of each entry of the weight's noise.
    bias_deviation : float
        Of each entry of the bias's; 0 where none is added.
    uniform : bool
        Whether the entries are uniform and not normal.
    rank : int
        Of the weight's noise, which is then the product of two normal matrices, as LoRA's is; 0
        where every entry is drawn for itself.
    """

    deviation: float
    bias_deviation: float = 0.0
    uniform: bool = False
    rank: int = 0

    def standard(
        self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype
    ) -> torch.Tensor:
        """Draw entries of mean 0 and deviation 1, on the generator's device.

        Examples
        --------
        >>> noise = ModuleNoise(deviation=1.0, uniform=True)
        >>> drawn = noise.standard((99,), generator_for(0, "query"), torch.float32)
        >>> bool(drawn.abs().max() <= 3**0.5)
        True
        """
        placed = {"generator": generator, "dtype": dtype, "device": generator.device}
        if self.uniform:
            return (2 * torch.rand(shape, **placed) - 1) * math.sqrt(3)
        return torch.randn(shape, **placed)

    def weight(
        self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype
    ) -> torch.Tensor:
        """Draw a weight's noise of mean 0 and deviation 1: of full rank, or of the one asked for.

        Examples
        --------
        >>> noise = ModuleNoise(deviation=1.0, rank=2)
        >>> drawn = noise.weight((9, 7), generator_for(0, "query"), torch.float64)
        >>> drawn.shape, int(torch.linalg.matrix_rank(drawn))
        (torch.Size([9, 7]), 2)
        """
        if not self.rank:
            return self.standard(shape, generator, dtype)
        left = self.standard((shape[0], self.rank), generator, dtype)
        return left @ self.standard((self.rank, shape[1]), generator, dtype) / self.rank**0.5


def module_noise(
    layer: nn.Module, options: ScoringOptions, dtype: torch.dtype = torch.float32
) -> ModuleNoise:
    """Return the law of the noise that scoring puts on a module.

    Parameters
    ----------
    layer : torch.nn.Module
    options : ScoringOptions
    dtype : torch.dtype
        Of the model's activations, which packed weights are read with.

    Examples
    --------
    >>> noise = module_noise(nn.Linear(2, 2), ScoringOptions(noise="absolute", noise_scale=0.5))
    >>> noise.deviation
    0.5
    """
    words = options.noise.split(",")
    absolute, bias = "absolute" in words, getattr(layer, "bias", None)
    of_weight = 1.0 if absolute else deviation(unpacked(layer, dtype))
    of_bias = 0.0
    if "bias" in words and bias is not None:
        of_bias = 1.0 if absolute else deviation(bias)
    scale = options.noise_scale
    rank = next((int(word[5:]) for word in words if word.startswith("rank-")), 0)
    return ModuleNoise(scale * of_weight, scale * of_bias, "uniform" in words, rank)


def weight_noise(
    weight: torch.Tensor, noise_scale: float, generator: torch.Generator
) -> torch.Tensor:
    """Draw Gaussian noise for one weight (paper, Algorithm 2).

    Parameters
    ----------
    weight : torch.Tensor
        Any shape; its own standard deviation is the unit of the noise.
    noise_scale : float
        Standard deviation of the noise over the standard deviation of ``weight``.
    generator : torch.Generator
        See `generator_for`.

    Returns
    -------
    torch.Tensor
        ``weight``'s shape, dtype and device; standard deviation ``noise_scale * std(weight)``.

    Examples
    --------
    >>> noise = weight_noise(torch.randn(64, 64), 1.0, generator_for(0, "query"))
    >>> noise.shape
    torch.Size([64, 64])
    """
    # Drawn on the CPU in float32 (float64 for a float64 weight), so that no device or dtype
    # changes the numbers that a seed gives.
    dtype = torch.promote_types(weight.dtype, torch.float32)
    noise = torch.randn(weight.shape, generator=generator, dtype=dtype)
    return (noise * (noise_scale * deviation(weight))).to(weight)


@contextmanager
def add_to_output(
    module: nn.Module, noise: torch.Tensor, bias: torch.Tensor | None = None
) -> Iterator[None]:
    """Let ``module`` act as if noise had been added to its weight, and to its bias.

    Parameters
    ----------
    module : torch.nn.Linear or transformers.pytorch_utils.Conv1D
        Conv1D holds its weight as in × out, Linear as out × in.
    noise : torch.Tensor
        Of the weight's shape, dtype and device.
    bias : torch.Tensor, optional
        out_features.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> with add_to_output(layer, torch.ones(2, 2)):
    ...     noisy = layer(torch.ones(2))
    >>> torch.allclose(noisy - layer(torch.ones(2)), torch.full((2,), 2.0))
    True
    """
    right = noise.T if isinstance(module, nn.Linear) else noise

    def add(_module, args, output):
        noisy = output + args[0] @ right
        return noisy if bias is None else noisy + bias

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def input_factor(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Factor each text's Gram matrix of inputs, ``X X^T = L L^T``, by Cholesky.

    Parameters
    ----------
    inputs : torch.Tensor
        texts × tokens × in_features.
    mask : torch.Tensor
        texts × tokens, 0 at padding, whose rows of ``L`` are 0.

    Returns
    -------
    torch.Tensor
        ``L``, texts × tokens × tokens, lower triangular, float64.

    Examples
    --------
    >>> inputs = torch.randn(1, 3, 8)
    >>> lower = input_factor(inputs, torch.ones(1, 3)).float()
    >>> torch.allclose(lower @ lower.mT, inputs @ inputs.mT, atol=1e-4)
    True
    """
    real = in_double(inputs * mask[:, :, None])
    gram = real @ real.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += JITTER * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-300)
    return torch.linalg.cholesky(gram) * mask[:, :, None].to(gram.device)


def activation_noise(
    factor: torch.Tensor,
    mask: torch.Tensor,
    out_features: int,
    copies: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Draw what weights of independent standard normal noise would add to a module's output.

    For inputs ``X`` (tokens × in) with ``X X^T = L L^T`` and Gaussian ``E`` (out × in), each
    column of ``X E^T`` is normal with covariance ``X X^T``: the law of ``L Z`` with ``Z`` standard
    normal, tokens × out. Nothing of the weight's size is drawn or multiplied, and every text gets
    its own noise.

    Parameters
    ----------
    factor : torch.Tensor
        ``L`` of `input_factor`.
    mask : torch.Tensor
        texts × tokens, 0 at padding, for which nothing is drawn: padding changes no number.
    out_features, copies : int
    generators : sequence of torch.Generator
        One a text.
    dtype : torch.dtype

    Returns
    -------
    torch.Tensor
        texts × copies × tokens × out_features, on ``factor``'s device.

    Examples
    --------
    >>> lower = input_factor(torch.randn(1, 3, 8), torch.ones(1, 3))
    >>> activation_noise(lower, torch.ones(1, 3), 5, 2, [generator_for(0, "query")]).shape
    torch.Size([1, 2, 3, 5])
    """
    normal = _by_text(ModuleNoise(1.0), mask, copies, out_features, generators, dtype)
    return factor[:, None].to(dtype) @ normal.to(factor.device)


def _by_text(
    noise: ModuleNoise,
    mask: torch.Tensor,
    copies: int,
    features: int,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Draw texts × copies × tokens × features standard entries, 0 at padding, copy by copy."""
    device = generators[0].device
    drawn = torch.zeros(len(mask), copies, mask.shape[1], features, dtype=dtype, device=device)
    for text, (real, generator) in enumerate(zip(mask.bool().to(device), generators, strict=True)):
        for copy in range(copies):
            shape = (int(real.sum()), features)
            drawn[text, copy, real] = noise.standard(shape, generator, dtype)
    return drawn


class OutputNoise:
    """What the noise on one module adds to its outputs, drawn some instances at a time.

    However the instances are split, their numbers are the same.

    Parameters
    ----------
    noise : ModuleNoise
    inputs : torch.Tensor
        texts × tokens × in_features.
    mask : torch.Tensor
        texts × tokens, 0 at padding.
    factor : torch.Tensor
        As `input_factor` gives it; looked at only where every entry of the noise is normal.
    out_features : int
    generators : sequence of torch.Generator
        One a text.

    Examples
    --------
    >>> inputs, mask, noise = torch.randn(1, 3, 8), torch.ones(1, 3), ModuleNoise(0.1)
    >>> factor, generators = input_factor(inputs, mask), [generator_for(0, "query")]
    >>> OutputNoise(noise, inputs, mask, factor, 5, generators).draw(2).shape
    torch.Size([1, 2, 3, 5])
    """

    def __init__(self, noise, inputs, mask, factor, out_features, generators):
        self.noise, self.inputs, self.mask = noise, inputs, mask
        self.factor = factor * noise.deviation
        self.out_features, self.generators = out_features, generators
        self.dtype = torch.promote_types(inputs.dtype, torch.float32)

    def draw(self, copies: int) -> torch.Tensor:
        """Return texts × copies × tokens × out_features, on the inputs' device."""
        noise, device = self.noise, self.inputs.device
        if noise.uniform or noise.rank:
            drawn = self._through_weights(copies)
        else:
            drawn = activation_noise(
                self.factor, self.mask, self.out_features, copies, self.generators, self.dtype
            ).to(device)
        if noise.bias_deviation:
            ones = torch.ones(len(self.mask), 1)
            biases = _by_text(noise, ones, copies, self.out_features, self.generators, self.dtype)
            drawn += noise.bias_deviation * biases.to(device) * self.mask[:, None, :, None]
        return drawn

    def _through_weights(self, copies: int) -> torch.Tensor:
        """Draw each weight: what is not normal has no law of its own at the outputs."""
        shape = (self.out_features, self.inputs.shape[-1])
        real = self.inputs.to(self.dtype) * self.mask[:, :, None]
        rows = [
            torch.stack(
                [
                    text @ self.noise.weight(shape, generator, self.dtype).to(text).mT
                    for _ in range(copies)
                ]
            )
            for text, generator in zip(real, self.generators, strict=True)
        ]
        return self.noise.deviation * torch.stack(rows)
