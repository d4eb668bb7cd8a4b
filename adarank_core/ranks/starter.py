"""A starter adapter: a plan as an untrained LoRA adapter, for tools that continue from one.

Most trainers know one rank for all modules, but go on from an adapter's folder with whatever ranks
stand in it.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.files import replacing
from adarank_core.ranks.plans import RankPlan

__all__ = ["WEIGHTS", "starter_weights", "write_weights"]

WEIGHTS = "adapter_model.safetensors"


def starter_weights(plan: RankPlan, sizes: Mapping[str, tuple[int, int]]) -> dict:
    """Return the tensors of an untrained adapter, by the names that PEFT saves them under.

    ``A`` is drawn as PEFT draws it, uniform between plus and minus ``1 / sqrt(in_features)``,
    from the plan's seed (0 where it has none); ``B`` is zero, so that the adapter changes nothing
    before it is trained.

    Parameters
    ----------
    plan : RankPlan
    sizes : mapping of str to (int, int)
        in_features and out_features by the module's full name.

    Returns
    -------
    dict of str to torch.Tensor
        ``A`` of rank × in_features and ``B`` of out_features × rank, in float32; none for modules
        of rank 0.

    Raises
    ------
    AdaRankError
        If a module's size is not known, or its rank is above its smaller side.

    Examples
    --------
    >>> plan = RankPlan("tiny", {"0.query": 4}, {"0.query": 8})
    >>> [tuple(tensor.shape) for tensor in starter_weights(plan, {"0.query": (6, 5)}).values()]
    [(4, 6), (5, 4)]
    """
    import torch

    draw, weights = torch.Generator().manual_seed(plan.seed or 0), {}
    for name, rank in plan.ranks.items():
        if name not in sizes:
            raise AdaRankError(
                f"the size of {name!r} is not known; give the model that the ranks are for, or "
                "their own scores"
            )
        inputs, outputs = sizes[name]
        if rank > min(inputs, outputs):
            raise AdaRankError(
                f"the rank of {name!r} is {rank}; it may be {min(inputs, outputs)} at most"
            )
        if rank > 0:
            start = torch.empty(rank, inputs)
            torch.nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=draw)
            weights[f"base_model.model.{name}.lora_A.weight"] = start
            weights[f"base_model.model.{name}.lora_B.weight"] = torch.zeros(outputs, rank)
    return weights


def write_weights(weights: dict, path: Path) -> None:
    """Write tensors as PEFT saves them; a file that was there stays whole until then.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
    path : pathlib.Path

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with replacing(path) as partial:
            save_file(weights, partial, metadata={"format": "pt"})
    except SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from None
