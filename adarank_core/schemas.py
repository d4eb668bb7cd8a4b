"""What was JSON is checked by a schema before a value of it is used."""

from functools import cache
from typing import Annotated

from annotated_types import MinLen

from adarank_core.errors import AdaRankError, quoted

__all__ = ["STRICT", "FailFast", "Name", "Text", "check_format", "check_keys", "validated"]

# For the __pydantic_config__ of every schema: no conversions, and every number is a number.
STRICT = {"strict": True, "allow_inf_nan": False}
# Strings that UTF-8 can write: pydantic looks for that only where a length is asked for.
Text, Name = Annotated[str, MinLen(0)], Annotated[str, MinLen(1)]


def check_format(data, tag: str, what: str) -> None:
    """Raise `AdaRankError` unless ``data`` is a dictionary whose ``format`` is ``tag``."""
    found = data.get("format") if isinstance(data, dict) else None
    if found != tag:
        raise AdaRankError(f"this is not a {what} file: its format is {quoted(found)}, not {tag!r}")


def check_keys(data: dict, keys, what: str) -> None:
    """Raise `AdaRankError` naming the first of ``keys`` that ``data`` lacks."""
    for key in keys:
        if key not in data:
            raise AdaRankError(f"{key!r} is missing from {what}; write it as AdaRank does")


class FailFast:
    """Marks a list or dictionary in a schema whose first wrong item is enough to know.

    Without it a file of millions of wrong items would become as many errors, in memory.

    Examples
    --------
    >>> from typing import Annotated
    >>> Ranks = Annotated[list[int], FailFast()]
    """

    def __get_pydantic_core_schema__(self, source, handler):
        """Do what pydantic's own marker does, which would have to be imported first."""
        return {**handler(source), "fail_fast": True}


def validated(data, schema: type, what: str):
    """Return ``data`` as it is if it fits ``schema``, or say the first thing that is wrong.

    Parameters
    ----------
    data : object
        As it came from JSON, of any size.
    schema : type
        A ``typing_extensions.TypedDict`` with ``__pydantic_config__ = STRICT``, its ranges given
        with `annotated_types`, its long lists and dictionaries marked `FailFast`. A key that
        is not in it may stand in ``data``.
    what : str
        How the sentence calls the whole, such as ``"the scores"``.

    Returns
    -------
    object
        ``data`` itself: nothing is converted, so that its digest stays the same.

    Raises
    ------
    AdaRankError
        If a key is missing, or a value is of another type, out of its range or not finite.

    Examples
    --------
    >>> from typing import Annotated
    >>> from annotated_types import Ge
    >>> from typing_extensions import TypedDict
    >>> class Run(TypedDict):
    ...     __pydantic_config__ = STRICT
    ...     seed: Annotated[int, Ge(0)]
    >>> class Result(TypedDict):
    ...     runs: list[Run]
    >>> validated({"runs": [{"seed": 3}, {"seed": -1}]}, Result, "the result")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'seed' of run 2 of the result is -1; it must be greater ...
    """
    from pydantic import ValidationError  # a tenth of a second, which --help must not wait for

    try:
        _adapter(schema).validate_python(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    else:
        return data
    place, value = _place(_steps(first["loc"], data), what), first["input"]
    if first["type"] == "missing":
        key = first["loc"][-1]
        raise AdaRankError(f"{key!r} is missing from {place}; write it as AdaRank does")
    reason = first["msg"].replace("Input should", "it must").replace(" after validation", "")
    reason = reason[:1].lower() + reason[1:]
    raise AdaRankError(f"{place} is {quoted(value)}; {reason}")


@cache
def _adapter(schema: type):
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


def _steps(location: tuple, data) -> list:
    """Leave out what leads nowhere: pydantic's names for a key, or for one of several types."""
    steps = []
    for step in location:
        try:
            data = data[step]
        except (LookupError, TypeError):
            continue
        steps.append(step)
    return steps


def _place(steps: list, what: str) -> str:
    """Say where a value stands: ("runs", 1, "seed") is ``'seed' of run 2 of`` the whole."""
    name, whole = "item", what
    for step in steps:
        if isinstance(step, int):
            what = f"{name.removesuffix('s')} {step + 1} of {whole}"
        else:
            name, whole = step, what
            what = f"{quoted(step)} of {what}"
    return what
