"""Modules whose weight is packed: what of them can be scored, and what is refused by name.

Noise at a module's outputs needs nothing of the weight but its true standard deviation, so that
bitsandbytes' 4- and 8-bit modules are scored as they are, one weight at a time being unpacked for
that. What packs its weight in another way is refused: the numbers it holds tell nothing.
"""

import torch
from torch import nn

from adarank_core.errors import AdaRankError

__all__ = ["check_weight", "is_packed", "unpacked"]

# What other packed linear modules (GPTQ's, AWQ's, compressed-tensors') hold in place of a weight.
PACKED = ("qweight", "weight_packed", "qzeros")


def is_packed(layer: nn.Module) -> bool:
    """Tell a 4- or 8-bit module of bitsandbytes, which `unpacked` can read.

    Examples
    --------
    >>> is_packed(nn.Linear(2, 2))
    False
    """
    held = (getattr(layer.weight, "quant_state", None), getattr(layer.weight, "CB", None))
    later = getattr(getattr(layer, "state", None), "CB", None)  # where 8-bit bytes go at first use
    return any(value is not None for value in (*held, later))


def unpacked(layer: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the weight that a linear module computes with.

    A packed one is asked what it makes of the identity: whatever its bytes mean, and where they
    are rearranged for a processor, that is its weight.

    Parameters
    ----------
    layer : torch.nn.Module
    dtype : torch.dtype
        Of the model's activations.

    Returns
    -------
    torch.Tensor
        out × in for a packed module; else the weight itself.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> unpacked(layer) is layer.weight
    True
    """
    if not is_packed(layer):
        return layer.weight
    identity = torch.eye(layer.in_features, dtype=dtype, device=layer.weight.device)
    with torch.no_grad():
        return (layer(identity) - layer(torch.zeros_like(identity[:1]))).T


def check_weight(name: str, layer: nn.Module) -> None:
    """Refuse a module whose numbers are not those that it computes with, and cannot be read.

    Parameters
    ----------
    name : str
        The module's full name.
    layer : torch.nn.Module
        Any module.

    Raises
    ------
    AdaRankError
        If it is a quantised linear module of a kind that nothing here knows.

    Examples
    --------
    >>> check_weight("query", nn.Linear(2, 2))
    """
    weight, holds = getattr(layer, "weight", None), None
    holds = next((part for part in PACKED if getattr(layer, part, None) is not None), None)
    if holds is None and isinstance(layer, nn.Linear) and not is_packed(layer):
        plain = weight.is_floating_point() and weight.dtype.itemsize > 1
        if not plain or weight.shape != (layer.out_features, layer.in_features):
            dtype = str(weight.dtype).removeprefix("torch.")
            holds = f"a weight of {dtype} of shape {tuple(weight.shape)}"
    if holds is not None:
        raise AdaRankError(
            f"the module {name!r} is a quantised {type(layer).__name__}, which holds {holds}; "
            "score the model without quantisation and train the quantised one with its ranks"
        )
