"""The shape of what a comparison was asked for, in JSON.

Apart from ``request.py``, so that runs can be listed without pandas and scipy.
"""

from typing import Annotated, Literal, Required

from annotated_types import Interval, MinLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.comparison.verdicts import METRICS, LookEntry, Seed
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.schemas import STRICT, FailFast, Name, Text
from adarank_core.training.settings import Rate, SettingsEntry

__all__ = ["ClaimEntry", "PartialRequestEntry", "RequestEntry"]

Arms = Annotated[list[Name], MinLen(1), FailFast()]
Seeds = Annotated[list[Seed], MinLen(1), FailFast()]


class PartialRequestEntry(TypedDict, total=False):
    """What is known of a request: other commands keep less, older versions kept less."""

    __pydantic_config__ = STRICT
    model: Name
    task: Name
    arms: Arms
    seeds: Seeds
    average_rank: Annotated[float, Interval(gt=0, le=1e6)]
    trials: Annotated[int, Interval(ge=1, le=10**9)] | None
    settings: SettingsEntry
    learning_rates: Annotated[list[Rate], FailFast()] | Literal["auto"] | None
    side_by_side: Annotated[int, Interval(ge=1, le=10**6)]
    alpha: Literal[tuple(ALPHA_POLICIES)]
    metric: Literal[tuple(METRICS)]
    smallest_of_interest: Annotated[float, Interval(gt=0, le=1e6)] | None


class RequestEntry(PartialRequestEntry):
    """A request that can be asked for again."""

    model: Required[Name]
    task: Required[Name]
    arms: Required[Arms]
    seeds: Required[Seeds]


class ClaimEntry(PartialRequestEntry, total=False):
    """A folder's ``comparison.json``: what all results in it have in common."""

    task_sha256: Text
    model_sha256: Text
    search_seeds: Seeds
    search_seed: Annotated[int, Interval(ge=0, lt=2**32)]  # of older versions, which had one
    planned_seeds: Seeds
    looks: Annotated[list[LookEntry], FailFast()]
