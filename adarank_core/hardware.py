"""What the machine at hand has, and what it is good at."""

import os

__all__ = ["bf16_is_native", "cores"]


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


def bf16_is_native() -> bool:
    """Tell whether this machine computes in bfloat16 itself, and so faster than in float32.

    Examples
    --------
    >>> bf16_is_native() in (True, False)
    True
    """
    import torch  # pages ask for the cores, and do not wait for it

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
