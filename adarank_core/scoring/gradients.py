"""The logits' gradients at the modules' outputs, and what they tell before any noise is drawn."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from adarank_core.hardware import in_double

__all__ = ["linear_response", "output_gradients"]


def output_gradients(
    model: nn.Module, batch: dict, names: Sequence[str], read: Callable
) -> dict[str, torch.Tensor]:
    """Return the gradients of every text's logits at the outputs of modules.

    Parameters
    ----------
    model : torch.nn.Module
    batch : dict of str to torch.Tensor
        Keyword arguments of the model, texts × tokens.
    names : sequence of str
        Modules; those that do not run exactly once, or whose output does not go by text, are
        left out.
    read : callable
        Takes model and batch; returns the logits, texts × logits.

    Returns
    -------
    dict of str to torch.Tensor
        texts × logits × tokens × out_features, by name. Each logit takes a backward pass.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    >>> read = lambda model, batch: model(batch["inputs"])[:, 0]
    >>> gradients = output_gradients(model, {"inputs": torch.ones(1, 4, 2)}, ["0"], read)
    >>> gradients["0"].shape
    torch.Size([1, 3, 4, 2])
    """
    outputs: dict[str, list] = {name: [] for name in names}

    def keep(name, output):
        if not isinstance(output, torch.Tensor):  # a router may give more than one
            return None
        outputs[name].append(output)
        if output.requires_grad:
            return None
        # Nothing before the first module needs a gradient, whether weights ask for it or not. The
        # model gets a copy, for a tensor that gradients begin at cannot be changed in place.
        return output.requires_grad_().clone()

    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: keep(name, output)
        )
        for name in names
    ]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            # Cloned here, for tensors of inference mode know no gradients.
            logits = read(model, {key: value.clone() for key, value in batch.items()})
        finally:
            for handle in handles:
                handle.remove()
        once = {
            name: calls[0]
            for name, calls in outputs.items()
            if len(calls) == 1 and calls[0].dim() == 3 and len(calls[0]) == len(logits)
        }
        if not once or not logits.requires_grad:
            return {}
        of_texts = logits.sum(dim=0)  # a text's logits depend on no other text
        found = [
            torch.autograd.grad(logit, list(once.values()), retain_graph=True, allow_unused=True)
            for logit in of_texts
        ]
    return {
        name: torch.stack(gradients, dim=1)
        for name, *gradients in zip(once, *found, strict=True)
        if gradients[0] is not None
    }


def linear_response(
    gradient: torch.Tensor, noise: torch.Tensor, factor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Say by how much noise would move the logits if they were linear in it.

    Parameters
    ----------
    gradient : torch.Tensor
        texts × logits × tokens × out_features.
    noise : torch.Tensor
        texts × copies × tokens × out_features, as `scoring.noise.activation_noise` draws it.
    factor : torch.Tensor
        texts × tokens × tokens: what the noise was drawn with.

    Returns
    -------
    moved : torch.Tensor
        texts × copies × logits: ``<gradient, noise>``.
    expected : torch.Tensor
        texts, float64: the L1 distance of two such draws that is expected. With the noise
        ``L Z`` a logit is normal with deviation ``|L^T G|``, and two of them differ by
        ``2 / sqrt(pi)`` times that.

    Examples
    --------
    >>> moved, expected = linear_response(
    ...     torch.ones(1, 1, 1, 1), torch.randn(1, 2, 1, 1), torch.eye(1)[None])
    >>> moved.shape, round(float(expected), 3)
    (torch.Size([1, 2, 1]), 1.128)
    """
    moved = noise.flatten(2) @ gradient.to(noise.dtype).flatten(2).mT
    deviation = (in_double(factor).mT[:, None] @ in_double(gradient)).flatten(2).norm(dim=2)
    return moved, deviation.sum(dim=1) * 2 / torch.pi**0.5
