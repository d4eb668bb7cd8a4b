"""Which tokens' outputs reach the logits, where a model reads few of them.

Of the last block of a classifier that reads its first token, only that token's query and
feed-forward layers matter: what they give for the others need not be computed.
"""

from collections.abc import Callable

import torch
from torch import nn

from adarank_core.scoring.encoding import padded, tokenised
from adarank_core.scoring.gradients import output_gradients
from adarank_core.scoring.models import ModelBundle, adaptable_modules

__all__ = ["first_token_modules", "tokens_that_count"]

# Three texts, of more tokens: what goes by text and token has another shape than what does not.
TRIAL = ("the old cat sat on the red mat", "a dog ran under the sun", "not a very good bird")


def tokens_that_count(
    model: nn.Module,
    batch: dict,
    read: Callable,
    logits: torch.Tensor,
    gradients: dict[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Return the tokens whose outputs reach the logits, for modules where at most half do.

    They are those at whose outputs some logit has a gradient. As a gradient may be 0 by chance,
    all other outputs are then made NaN at once: logits that stay what they were have not looked
    at any of them.

    Parameters
    ----------
    model : torch.nn.Module
        As it was when it gave the logits.
    batch : dict of str to torch.Tensor
    read : callable
        Takes model and batch; returns the logits, texts × logits.
    logits : torch.Tensor
        What ``read`` returns.
    gradients : dict of str to torch.Tensor
        As `adarank_core.scoring.gradients.output_gradients` returns them.

    Returns
    -------
    dict of str to torch.Tensor
        texts × tokens, bool, by module; empty where the logits did look.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)).requires_grad_(False)
    >>> batch, read = {"inputs": torch.ones(1, 3, 2)}, lambda model, batch: model(**batch)[:, 0]
    >>> model.forward = lambda inputs: model[1](model[0](inputs))
    >>> gradients = output_gradients(model, batch, ["0"], read)
    >>> tokens_that_count(model, batch, read, read(model, batch), gradients)["0"]
    tensor([[ True, False, False]])
    """
    shape = next(iter(batch.values())).shape[:2]
    tokens = {name: (gradient != 0).any(dim=3).any(dim=1) for name, gradient in gradients.items()}
    few = {
        name: counts
        for name, counts in tokens.items()
        if counts.shape == shape and counts.any() and counts.double().mean() <= 0.5
    }
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, counts=counts: output.masked_fill(
                ~counts[:, :, None], torch.nan
            )
        )
        for name, counts in few.items()
    ]
    try:
        unread = not few or read(model, batch).equal(logits)
    finally:
        for handle in handles:
            handle.remove()
    return few if unread else {}


def first_token_modules(bundle: ModelBundle) -> tuple[str, ...]:
    """Return the adaptable modules of which a classifier reads the first token's output alone.

    Parameters
    ----------
    bundle : ModelBundle
        A classifier that LoRA does not adapt yet.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> for name in first_token_modules(load_model("embedded")):
    ...     print(name)
    bert.encoder.layer.5.attention.self.query
    bert.encoder.layer.5.attention.output.dense
    bert.encoder.layer.5.intermediate.dense
    bert.encoder.layer.5.output.dense
    """
    model, names = bundle.model.eval(), [m.name for m in adaptable_modules(bundle.model)]
    batch = padded(bundle, tokenised(bundle, TRIAL, max_length=16))
    if batch["input_ids"].shape[0] >= batch["input_ids"].shape[1]:
        return ()  # texts cannot be told from tokens

    def read(model, batch):
        return model(**batch).logits

    # One backward pass, whatever the number of labels: the trial looks at each of them.
    gradients = output_gradients(
        model, batch, names, lambda model, batch: read(model, batch).sum(dim=1, keepdim=True)
    )
    with torch.inference_mode():
        tokens = tokens_that_count(model, batch, read, read(model, batch), gradients)
    return tuple(name for name, counts in tokens.items() if not counts[:, 1:].any())
