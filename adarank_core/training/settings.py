"""What all trainings of a comparison share. Without torch, for whoever only passes it on."""

import math
from dataclasses import dataclass

from adarank_core.errors import AdaRankError

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What all arms of a comparison share.

    Parameters
    ----------
    steps : int
        Optimizer steps, at least 1.
    batch_size : int
        Texts a step.
    learning_rate : float
        Peak of a linear schedule with 6% warm-up, for AdamW. Full fine-tuning takes a hundredth
        of it.
    max_length : int
        Longer texts are cut to this many tokens.
    evaluations : int
        How often the validation metrics are taken on the way.

    Raises
    ------
    AdaRankError
        If a value is out of range.

    Examples
    --------
    >>> Settings(steps=10).learning_rate
    0.005
    """

    steps: int = 150
    batch_size: int = 32
    learning_rate: float = 5e-3
    max_length: int = 128
    evaluations: int = 6

    def __post_init__(self):
        for name in ("steps", "batch_size", "max_length", "evaluations"):
            if getattr(self, name) < 1:
                raise AdaRankError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise AdaRankError(
                f"learning_rate is {self.learning_rate}; it must be above 0 and finite"
            )
