"""What the machine at hand has, and what it is good at."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from adarank_core.errors import AdaRankError, quoted

if TYPE_CHECKING:
    import torch

__all__ = [
    "DTYPES",
    "bf16_is_native",
    "check_device",
    "check_dtype",
    "cores",
    "device_named",
    "dtype_named",
    "gpus",
    "in_double",
    "is_out_of_memory",
]

GPUS = Path("/proc/driver/nvidia/gpus")  # the driver's own list, one entry each
DTYPES = ("auto", "float32", "bfloat16", "float16")


def cores() -> int:
    """Return how many cores this process may use.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says, in any of torch's ways, that memory ran out.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    import torch

    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError)
        and ("allocate memory" in said or "not enough memory" in said)
    )


def in_double(tensor: "torch.Tensor") -> "torch.Tensor":
    """Return a tensor in float64, on the CPU where its device has no such type (MPS).

    Examples
    --------
    >>> import torch
    >>> in_double(torch.ones(1)).dtype
    torch.float64
    """
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def gpus() -> list[str]:
    """Return what ``CUDA_VISIBLE_DEVICES`` calls the NVIDIA GPUs in sight, without loading torch.

    Examples
    --------
    >>> isinstance(gpus(), list)
    True
    """
    there = [str(number) for number, _ in enumerate(GPUS.glob("*"))]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not there:
        return there
    return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]


def device_named(name: str = "auto") -> "torch.device":
    """Return the device that a name says, if it is here.

    Parameters
    ----------
    name : str
        ``"auto"`` takes CUDA, then MPS, then the CPU; under ``torchrun`` or ``accelerate launch``
        the CUDA device of this process. Else ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises
    ------
    AdaRankError
        If there is no such device.

    Examples
    --------
    >>> device_named("cpu")
    device(type='cpu')
    >>> device_named("cuda:99")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: device is 'cuda:99', which is not here; this machine has ...
    """
    import torch  # pages ask for the cores, and do not wait for it

    here = [f"cuda:{at}" for at in range(torch.cuda.device_count())]
    own = int(os.environ.get("LOCAL_RANK") or 0) % max(1, len(here))
    here += ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name == "auto":
        return torch.device(here[own])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in here:
        raise AdaRankError(
            f"device is {quoted(name)}, which is not here; this machine has {', '.join(here)}"
        )
    return torch.device(wanted)


def check_device(name: str) -> None:
    """Raise `AdaRankError` unless a device is here; what always is needs no torch to say so.

    Examples
    --------
    >>> check_device("auto")
    """
    if name not in ("auto", "cpu"):
        device_named(name)


def check_dtype(name: str) -> None:
    """Raise `AdaRankError` unless this names a type that weights can have.

    Examples
    --------
    >>> check_dtype("bfloat16")
    """
    if name not in DTYPES:
        raise AdaRankError(f"dtype is {quoted(name)}; it must be one of {', '.join(DTYPES)}")


def dtype_named(name: str, stored: "torch.dtype", device: "torch.device") -> "torch.dtype":
    """Return the type of numbers that a model's weights get.

    Parameters
    ----------
    name : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``; ``"auto"`` leaves weights in their own
        type, but for float16 on a CPU, which computes in it slowly or not at all.
    stored : torch.dtype
        The checkpoint's own.
    device : torch.device

    Examples
    --------
    >>> import torch
    >>> dtype_named("auto", torch.float16, torch.device("cpu"))
    torch.float32
    """
    import torch

    if name == "auto":
        return torch.float32 if stored == torch.float16 and device.type == "cpu" else stored
    return getattr(torch, name)


def bf16_is_native(device: "torch.device | str" = "cpu") -> bool:
    """Tell whether a device computes in bfloat16 itself, and so faster than in float32.

    Parameters
    ----------
    device : torch.device or str
        Where the model is.

    Examples
    --------
    >>> bf16_is_native("cpu") in (True, False)
    True
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
