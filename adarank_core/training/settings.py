"""What all trainings of a comparison share. Without torch, for whoever only passes it on."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Interval
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.checks import is_number, is_whole
from adarank_core.errors import AdaRankError, quoted
from adarank_core.hardware import DTYPES, check_device, check_dtype
from adarank_core.limits import check_limit
from adarank_core.schemas import STRICT, Name

__all__ = ["Rate", "Settings", "SettingsEntry"]


# Beyond these nothing would ever end, or fit into memory.
MOST = {"steps": 10**7, "batch_size": 10**5, "max_length": 10**6, "evaluations": 10**4}
Rate = Annotated[float, Gt(0)]


class SettingsEntry(TypedDict, total=False):
    """Settings as JSON has them."""

    __pydantic_config__ = STRICT
    steps: Annotated[int, Interval(ge=1, le=MOST["steps"])]
    batch_size: Annotated[int, Interval(ge=1, le=MOST["batch_size"])]
    learning_rate: Rate
    max_length: Annotated[int, Interval(ge=1, le=MOST["max_length"])]
    evaluations: Annotated[int, Interval(ge=1, le=MOST["evaluations"])]
    device: Name
    dtype: Literal[DTYPES]


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
    device, dtype : str
        Where the model is put and what its frozen weights are, as `load_model` takes them. What
        is trained is float32.

    Raises
    ------
    AdaRankError
        If a value is out of range, or the device is none or not here.

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
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self):
        for name, most in MOST.items():
            value = getattr(self, name)
            if not is_whole(value, 1, most):
                raise AdaRankError(
                    f"{name} is {quoted(value)}; it must be at least 1 and at most {most:,}"
                )
        check_dtype(self.dtype)
        check_device(self.device)
        if not is_number(self.learning_rate, above=0):
            raise AdaRankError(
                f"learning_rate is {quoted(self.learning_rate)}; it must be above 0 and finite"
            )

    def check_limits(self) -> None:
        """Raise `AdaRankError` where this is more than this machine allows; see `limits`."""
        check_limit("steps", self.steps)
        check_limit("batch_size", self.batch_size)
        check_limit("text_tokens", self.max_length)

    def to_dict(self) -> dict:
        """Return the settings for JSON; device and dtype only where they were asked for.

        Examples
        --------
        >>> "device" in Settings().to_dict(), Settings(device="cpu").to_dict()["device"]
        (False, 'cpu')
        """
        placed = {"device", "dtype"}
        return {k: v for k, v in vars(self).items() if k not in placed or v != "auto"}
