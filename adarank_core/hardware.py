"""What the machine at hand is good at."""

import torch

__all__ = ["bf16_is_native"]


def bf16_is_native() -> bool:
    """Tell whether this machine computes in bfloat16 itself, and so faster than in float32.

    Examples
    --------
    >>> bf16_is_native() in (True, False)
    True
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
