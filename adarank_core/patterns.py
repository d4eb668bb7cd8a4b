"""Regular expressions that somebody gave: compiled and matched within a limit of time.

What Python's `re` cannot end, such as ``(a+)+$`` on a long name, would hang a page for everybody.
The package ``regex`` matches the same expressions and can be told to give up.
"""

import re
import time
from collections.abc import Sequence

import regex

from adarank_core.errors import AdaRankError

__all__ = ["SECONDS", "check_pattern", "matching_names"]

LONGEST = 1000  # characters; `re` takes long to compile what is much longer
SECONDS = 1.0  # of the processor, for all names together


def check_pattern(pattern: str, what: str) -> None:
    """Raise `AdaRankError` unless this is a regular expression that Python's `re` takes.

    Parameters
    ----------
    pattern : str
    what : str
        What it was given as, for the sentence.

    Examples
    --------
    >>> check_pattern("(", "modules")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: modules is '(', which is not a regular expression (missing \
), unterminated subpattern at position 0)
    """
    if not isinstance(pattern, str):
        raise AdaRankError(f"{what} is {pattern!r}; it must be a regular expression")
    if len(pattern) > LONGEST:
        raise AdaRankError(
            f"{what} is {pattern!r}, which has {len(pattern):,} characters; a regular expression "
            f"may have {LONGEST:,}"
        )
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError) as error:
        raise AdaRankError(
            f"{what} is {pattern!r}, which is not a regular expression ({error})"
        ) from None


def matching_names(
    pattern: str,
    names: Sequence[str],
    what: str,
    whole: bool = False,
    ends: float | None = None,
) -> list[str]:
    """Return the names that a regular expression matches.

    Parameters
    ----------
    pattern : str
    names : sequence of str
    what : str
        What the expression was given as, for the sentence.
    whole : bool
        Whether it must match all of a name, or only somewhere in it.
    ends : float, optional
        When `time.process_time` says so, it has taken too long: for several expressions together.
        A second from now if not given.

    Raises
    ------
    AdaRankError
        If it is no regular expression, or takes more than a second.

    Examples
    --------
    >>> matching_names("^v", ["query", "value"], "modules")
    ['value']
    """
    check_pattern(pattern, what)
    compiled = regex.compile(pattern)
    match = compiled.fullmatch if whole else compiled.search
    ends, found = time.process_time() + SECONDS if ends is None else ends, []
    for name in names:
        try:
            if match(name, timeout=max(ends - time.process_time(), 1e-3)):
                found.append(name)
        except (TimeoutError, MemoryError):
            raise AdaRankError(
                f"{what} is {pattern!r}, which takes too long to match {name!r}; give a simpler "
                "regular expression"
            ) from None
    return found
