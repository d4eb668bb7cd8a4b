"""The noise that is added to one module, and the hook that adds it.

The pretrained weights are never written: a hook adds ``x Eᵀ`` to the output of the module, which
is what a module with weight ``W + E`` would give. A module's noise depends on the seed, the
module's name and the number of the instance alone, so that neither the order in which modules
are scanned nor how they are split over processes changes any score.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

__all__ = ["add_to_output", "generator_for", "replace_output", "weight_noise"]


def generator_for(seed: int, name: str, instance: int = 0) -> torch.Generator:
    """Return the random generator of one noisy instance of one module.

    Parameters
    ----------
    seed : int
        The run's seed.
    name : str
        Full path of the module.
    instance : int
        Counts the noisy instances of this module, from 0.

    Returns
    -------
    torch.Generator
        On the CPU, seeded by a hash of the three.

    Examples
    --------
    >>> first = torch.rand(1, generator=generator_for(0, "query"))
    >>> bool(first == torch.rand(1, generator=generator_for(0, "query")))
    True
    """
    digest = hashlib.sha256(f"{seed}/{name}/{instance}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def weight_noise(weight: torch.Tensor, noise_scale: float, generator: torch.Generator):
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
    """Let ``module`` act as if ``noise`` had been added to its weight, in this thread only.

    Parameters
    ----------
    module : torch.nn.Linear or transformers.pytorch_utils.Conv1D
        Conv1D holds its weight as in × out, Linear as out × in.
    noise : torch.Tensor
        Of the weight's shape, dtype and device.

    Notes
    -----
    A model may be shared among sessions (threads); the hook leaves the others' forward passes
    alone. It is removed on leaving, whatever happened.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> with add_to_output(layer, torch.ones(2, 2)):
    ...     noisy = layer(torch.ones(2))
    >>> torch.allclose(noisy - layer(torch.ones(2)), torch.full((2,), 2.0))
    True
    """
    owner = threading.get_ident()
    right = noise.T if isinstance(module, nn.Linear) else noise

    def add(_module, args, output):
        return output + args[0] @ right if threading.get_ident() == owner else None

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replace_output(model: nn.Module, substitutes: dict[str, nn.Module]) -> Iterator[None]:
    """Let children of ``model`` give the output of substitutes, in this thread only.

    Parameters
    ----------
    model : torch.nn.Module
    substitutes : dict of str to torch.nn.Module
        By the child's name; called with what the child is called with.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2))
    >>> with replace_output(model, {"0": nn.Identity()}):
    ...     model(torch.ones(2))
    tensor([1., 1.])
    """
    owner = threading.get_ident()

    def hook(substitute):
        def replace(_module, args, kwargs, _output):
            return substitute(*args, **kwargs) if threading.get_ident() == owner else None

        return replace

    with ExitStack() as stack:
        for name, substitute in substitutes.items():
            child = model.get_submodule(name)
            handle = child.register_forward_hook(hook(substitute), with_kwargs=True)
            stack.callback(handle.remove)
        yield
