"""A saved adapter for servers that know one rank and one alpha only."""

import math
import re
from pathlib import Path

from safetensors import SafetensorError

from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, write_json
from adarank_core.ranks.plan_files import CONFIG, adapter_folder, checked_adapter, values_by_name
from adarank_core.ranks.starter import WEIGHTS, write_weights

__all__ = ["portable"]

PADDED = re.compile(
    r"(?:base_model\.model\.)?(.+)\.(lora_(?:embedding_)?[AB])(?:\.(weight|bias))?$"
)
# These change the base model's weights when the adapter is loaded, by an amount that depends on
# the rank.
CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")


def portable(adapter: str | Path, output: str | Path) -> tuple[int, int]:
    """Write a saved LoRA adapter again, with one rank for all modules and the scaling inside B.

    Every ``A`` and ``B`` is padded with zeros to the adapter's largest rank, ``B`` is multiplied
    by what LoRA would scale it with, and ``lora_alpha`` is ``r``: the same logits (to rounding)
    where rank and alpha patterns are ignored, for more bytes. What is saved beside LoRA, such as
    a head, is kept as it is.

    Parameters
    ----------
    adapter : str or pathlib.Path
        A folder that PEFT saved: ``adapter_config.json`` and ``adapter_model.safetensors``,
        or the folder of a run with one such folder in it.
    output : str or pathlib.Path
        Another folder, made if missing.

    Returns
    -------
    (int, int)
        Bytes of the weights before and after.

    Raises
    ------
    AdaRankError
        If this is no plain LoRA adapter in safetensors, or a file cannot be read or written.

    Examples
    --------
    >>> portable("missing", "elsewhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'missing/adapter_config.json' cannot be read (...)
    """
    adapter, output = adapter_folder(adapter), Path(output)
    config = read_json(adapter / CONFIG)
    _check_config(config)
    if output.resolve() == adapter.resolve():
        raise AdaRankError(f"{str(output)!r} is the adapter itself; give another folder")
    tensors, rank = _pad_and_scale(_read_weights(adapter), config)
    plain = {**config, "r": rank, "lora_alpha": rank, "rank_pattern": {}, "alpha_pattern": {}}
    plain |= {"use_rslora": False, "init_lora_weights": True}
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_weights(tensors, output / WEIGHTS)
        write_json(output / CONFIG, plain)
        return (adapter / WEIGHTS).stat().st_size, (output / WEIGHTS).stat().st_size
    except OSError as error:
        reason = error.strerror or error
        raise AdaRankError(f"{str(output)!r} cannot be written ({reason})") from None


def _check_config(config) -> None:
    checked_adapter(config)
    if config.get("use_dora"):
        raise AdaRankError("this adapter uses DoRA, whose weights cannot be padded; use plain LoRA")
    if config.get("target_parameters"):
        raise AdaRankError("this adapter has target_parameters, which cannot be padded")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGING):
        raise AdaRankError(
            f"this adapter was started with init_lora_weights={start!r}, which changes the base "
            "model's weights; let PEFT convert it to plain LoRA first"
        )


def _read_weights(adapter: Path) -> dict:
    from safetensors.torch import load_file

    path = adapter / WEIGHTS
    if not path.is_file():
        pickled = (adapter / "adapter_model.bin").exists()
        raise AdaRankError(
            f"{str(adapter)!r} has no {WEIGHTS}"
            + (", only pickled weights, which AdaRank never loads" if pickled else "")
            + "; save the adapter with save_pretrained()"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise AdaRankError(f"{str(path)!r} cannot be read as safetensors ({error})") from None


def _pad_and_scale(tensors: dict, config: dict) -> tuple[dict, int]:
    """Pad every A and B to the largest rank, fold the scaling into B; return the rank too."""
    from torch.nn.functional import pad

    ranks, padded = {}, {}
    for key, tensor in tensors.items():
        match = PADDED.match(key)
        if match and match[2].endswith("A"):
            ranks[match[1]] = tensor.shape[0]
        elif not match and ".lora_" in key:
            raise AdaRankError(f"the adapter holds {key!r}, which is not plain LoRA")
    if not ranks:
        raise AdaRankError("the adapter holds no LoRA weights")
    most = max(ranks.values())
    alphas, _ = values_by_name(config.get("alpha_pattern") or {}, list(ranks), "alpha_pattern")
    for key, tensor in tensors.items():
        match = PADDED.match(key)
        if not match:
            padded[key] = tensor
            continue
        name, kind, part = match.groups()
        rank = ranks.get(name, 0)
        if rank < 1 or (kind.endswith("B") and part != "bias" and tensor.shape[1] != rank):
            raise AdaRankError(f"the adapter's {key!r} does not fit to its other half")
        alpha = alphas.get(name, config.get("lora_alpha", 8))
        scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        if kind.endswith("A"):
            tensor = pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, most - rank))
        else:
            tensor = (tensor.float() * scaling).to(tensor.dtype)
            if part != "bias":
                tensor = pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, most - rank))
        padded[key] = tensor.contiguous()
    return padded, most
