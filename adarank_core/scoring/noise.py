"""The noise on one module: drawn for its weight, or for what the weight does to given inputs.

The pretrained weights are never written. A module's noise depends on the seed, the module's name
and the number of the instance (or text) alone, so that neither the order in which modules are
scanned nor how they are split over processes changes any score.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["activation_noise", "add_to_output", "generator_for", "input_factor", "weight_noise"]

# Added to the diagonal of the Gram matrix over its largest entry: equal tokens make it singular.
JITTER = 1e-10


def generator_for(seed: int, name: str, instance: int = 0, text: int = 0) -> torch.Generator:
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

    Returns
    -------
    torch.Generator
        On the CPU, seeded by a hash of the four.

    Examples
    --------
    >>> first = torch.rand(1, generator=generator_for(0, "query"))
    >>> bool(first == torch.rand(1, generator=generator_for(0, "query")))
    True
    """
    digest = hashlib.sha256(f"{seed}/{name}/{instance}/{text}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


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
    return (noise * (noise_scale * weight.detach().to(dtype).std().cpu())).to(weight)


@contextmanager
def add_to_output(module: nn.Module, noise: torch.Tensor) -> Iterator[None]:
    """Let ``module`` act as if ``noise`` had been added to its weight.

    Parameters
    ----------
    module : torch.nn.Linear or transformers.pytorch_utils.Conv1D
        Conv1D holds its weight as in × out, Linear as out × in.
    noise : torch.Tensor
        Of the weight's shape, dtype and device.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> with add_to_output(layer, torch.ones(2, 2)):
    ...     noisy = layer(torch.ones(2))
    >>> torch.allclose(noisy - layer(torch.ones(2)), torch.full((2,), 2.0))
    True
    """
    right = noise.T if isinstance(module, nn.Linear) else noise
    handle = module.register_forward_hook(lambda _module, args, output: output + args[0] @ right)
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
    real = inputs.double() * mask[:, :, None]
    gram = real @ real.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += JITTER * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-300)
    return torch.linalg.cholesky(gram) * mask[:, :, None]


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
    texts, tokens, _ = factor.shape
    normal = torch.zeros(texts, copies, tokens, out_features, dtype=dtype)
    for text, (real, generator) in enumerate(zip(mask.bool().cpu(), generators, strict=True)):
        shape = (copies, int(real.sum()), out_features)
        normal[text][:, real] = torch.randn(shape, generator=generator, dtype=dtype)
    return factor[:, None].to(dtype) @ normal.to(factor.device)
