"""The same training with less work: outputs that nothing reads, products that LoRA takes apart.

A classifier that reads its first token reads of its last block's query and feed-forward layers
that token's outputs alone. And PEFT adds LoRA's product to a module's output in three passes over
all of it, where one will do. Both change sums in their last digits and nothing else. Under
autocast frozen weights are cast anew at every step, though they are what they were; to cast them
once changes nothing at all. Not every model can be trained under autocast: one step tells.

On a processor oneDNN compiles a product in bfloat16 for every shape that it meets, which takes as
long as many products do. Ranks are filled up with zeros, which add nothing, to few sizes.
"""

from collections.abc import Callable, Sequence

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

from adarank_core.scoring.encoding import logits_of, padded, tokenised
from adarank_core.scoring.model_checks import LONGEST_TRIAL, TRIAL
from adarank_core.scoring.models import ModelBundle, adaptable_modules

__all__ = ["cast_frozen", "learns_in_bfloat16", "make_lean"]

RANK_STEP = 8  # in bfloat16 a product of so many takes as long as one of fewer


def make_lean(model: nn.Module, first_token: Sequence[str]) -> None:
    """Let a model's modules do only what reaches its logits, and LoRA's in one product.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place. PEFT's own way is kept for what is not plain LoRA, such as AdaLoRA or
        dropout within LoRA, and where a forward of its own stands, such as accelerate's hooks.
    first_token : sequence of str
        Names of modules, with LoRA or without, that give 0 for all tokens but the first from now
        on; see `adarank_core.scoring.token_use.first_token_modules`.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> from adarank_core.comparison.planner import same_rank
    >>> from adarank_core.scoring.token_use import first_token_modules
    >>> from adarank_core.training.adapters import adapted
    >>> bundle, tokens = load_model("embedded"), torch.tensor([[101, 2000, 102]])
    >>> names = first_token_modules(bundle)
    >>> model = adapted(bundle, same_rank("embedded", 2)).eval()
    >>> before = model(tokens).logits
    >>> make_lean(bundle.model, names)
    >>> torch.testing.assert_close(model(tokens).logits, before)
    """
    for module in model.modules():
        if type(module) is LoraLinear and _is_plain(module):
            module.forward = _in_one_product(module)
    for name in first_token:
        module = model.get_submodule(name)
        module.forward = _on_first_token(module.forward)


def cast_frozen(model: nn.Module) -> None:
    """Keep frozen linear modules in bfloat16, as autocast would cast them at every step.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    >>> cast_frozen(model)
    >>> model[0].weight.dtype, model[1].weight.dtype
    (torch.bfloat16, torch.float32)
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and not any(w.requires_grad for w in module.parameters()):
            module.to(torch.bfloat16)


def learns_in_bfloat16(bundle: ModelBundle) -> bool:
    """Tell whether a step with matrix products in bfloat16 has finite logits and gradients.

    It has not where a model takes such a product for float32: X-MOD writes it into a tensor of
    that type, DeBERTa fills it with that type's smallest number. The step is that of the model
    alone, so that all arms of a comparison are trained in one precision.

    Parameters
    ----------
    bundle : ModelBundle
        Before anything adapts its model, which is left as it was.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> learns_in_bfloat16(load_model("embedded"))
    True
    """
    model = bundle.model
    first = model.get_submodule(adaptable_modules(model)[0].name).weight
    batch = padded(bundle, tokenised(bundle, TRIAL, LONGEST_TRIAL))
    try:
        with (
            torch.random.fork_rng(devices=[]),  # dropout draws
            torch.autocast(model.device.type, dtype=torch.bfloat16),
        ):
            loss = logits_of(model.train(), batch).square().mean()
        [gradient] = torch.autograd.grad(loss, first, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whatever a model raises where a product's type is not the weights'
        return False
    finally:
        model.eval()
    return bool(loss.isfinite()) and (gradient is None or bool(gradient.isfinite().all()))


def _is_plain(module: LoraLinear) -> bool:
    """Tell whether a module's forward is that of its class, and one adapter without dropout."""
    return (
        "forward" not in vars(module)
        and list(module.lora_A) == ["default"]
        and isinstance(module.lora_dropout["default"], nn.Identity)
        and not module.lora_variant
        and isinstance(module.base_layer, nn.Linear)
    )


def _in_one_product(module: LoraLinear) -> Callable:
    def forward(inputs):
        down, up = module.lora_A["default"].weight, module.lora_B["default"].weight
        more = -len(down) % RANK_STEP  # rows and columns of zeros
        if more and inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            down, up = nn.functional.pad(down, (0, 0, 0, more)), nn.functional.pad(up, (0, more))
        output = module.base_layer(inputs)
        inside = inputs.flatten(0, -2) @ down.T * module.scaling["default"]
        return torch.addmm(output.flatten(0, -2), inside, up.T).view_as(output)

    return forward


def _on_first_token(forward: Callable) -> Callable:
    def on_first_token(inputs):
        first = forward(inputs[:, :1])
        return nn.functional.pad(first, (0, 0, 0, inputs.shape[1] - 1))

    return on_first_token
