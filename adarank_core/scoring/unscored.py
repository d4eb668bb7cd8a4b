"""What stands inside a model's blocks and is not scored: weights that are no linear module's.

Such as a mixture's experts, which are held as one parameter of experts × out × in, its routers,
and XLNet's attention. LoRA on modules does not reach them, so they get no score and no rank; they
are named, so that nobody takes them for scored.
"""

import re

from torch import nn

from adarank_core.scoring.models import adaptable_modules

__all__ = ["unscored_weights"]

# Neither multiplies a token's features: a table is looked up, and LoRA has its own way for it and
# for convolutions, which the paper does not score.
OTHER_KINDS = (nn.Embedding, nn.modules.conv._ConvNd)
OTHER_NAMES = re.compile(r"bias$|embed")


def unscored_weights(model: nn.Module) -> tuple[str, ...]:
    """Name the weights inside a model's blocks that belong to no adaptable module.

    Biases, vectors, embeddings and convolutions are not meant.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    tuple of str
        Full names of parameters, in the model's order.

    Raises
    ------
    AdaRankError
        As `adarank_core.scoring.models.adaptable_modules` does.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> unscored_weights(load_model("embedded").model)
    ()
    """
    scored = {f"{module.name}.weight" for module in adaptable_modules(model)}
    return tuple(
        f"{path}.{name}"
        for path, module in model.named_modules()
        if not isinstance(module, OTHER_KINDS)
        for name, weight in module.named_parameters(recurse=False)
        if re.search(r".\.\d+\.", f"{path}.{name}")
        and sum(size > 1 for size in weight.shape) >= 2
        and not OTHER_NAMES.search(name)
        and f"{path}.{name}" not in scored
    )
