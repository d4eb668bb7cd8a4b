"""Say what machine and versions the figures of a benchmark come from."""

import os
import platform
from importlib.metadata import version

import torch

from adarank_core.hardware import bf16_is_native


def about(device="cpu", *packages):
    """Return the machine's kind, its threads, and versions, for a table's head.

    Parameters
    ----------
    device : torch.device or str
        What the model is on.
    *packages : str
        Whose versions count besides those of Python, torch and transformers.
    """
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
        "bfloat16 is native": bf16_is_native(device),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", *packages)},
    }
