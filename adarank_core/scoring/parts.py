"""Which of a model's modules are attention and which feed-forward, by the classes they stand in."""

import re

from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.scoring.models import adaptable_modules

__all__ = ["PARTS", "part_modules"]

PARTS = {"attention": "attention", "mlp": "feed-forward (MLP)"}

# Neither: state spaces and convolutions in place of attention, bottlenecks, routers.
OTHER = re.compile("Mixer|DeltaNet|ShortConv|Recurrent|Adapter|Bottleneck|Gating|SparseMoe")


def part_modules(model: nn.Module, part: str) -> tuple[str, ...]:
    """Return the names of the adaptable modules that are attention, or feed-forward.

    All transformers of transformers name the class of their attention so (``BertAttention``,
    ``LlamaAttention``); feed-forward layers often stand in no class of their own (OPT's, BART's),
    and are what is left in the blocks.

    Parameters
    ----------
    model : torch.nn.Module
    part : {"attention", "mlp"}

    Returns
    -------
    tuple of str

    Raises
    ------
    AdaRankError
        If the model has no such modules.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> model = load_model("embedded").model
    >>> len(part_modules(model, "attention")), len(part_modules(model, "mlp"))
    (24, 12)
    """
    found = tuple(m.name for m in adaptable_modules(model) if _part(model, m.name) == part)
    if not found:
        raise AdaRankError(
            f"the model {type(model).__name__} has no {PARTS[part]} modules that LoRA adapts; "
            "leave this arm out"
        )
    return found


def _part(model: nn.Module, name: str) -> str:
    path, around = name.split(".")[:-1], []
    for length in range(1, len(path) + 1):
        around.append(type(model.get_submodule(".".join(path[:length]))).__name__)
    if any("Attention" in kind for kind in around):
        return "attention"
    return "" if OTHER.search(around[-1]) else "mlp"
