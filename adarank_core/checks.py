"""Is a value that somebody gave a number at all, and within its bounds?"""

import sys
from numbers import Integral, Real

__all__ = ["is_number", "is_whole"]


def is_whole(value, lowest: int, highest: int) -> bool:
    """Tell whether a value is a whole number between two bounds; True and False are none.

    Examples
    --------
    >>> [is_whole(value, 1, 10) for value in (1, 10, 0, 10**30, 2.0, "2", None, True)]
    [True, True, False, False, False, False, False, False]
    """
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and lowest <= value <= highest
    )


def is_number(value, above: float = -sys.float_info.max) -> bool:
    """Tell whether a value is a finite number above a bound, and no larger than a float can be.

    Examples
    --------
    >>> [is_number(value, above=0) for value in (0.5, 2, 0, 10**400, float("nan"), "2", True)]
    [True, True, False, False, False, False, False]
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and above < value <= sys.float_info.max
