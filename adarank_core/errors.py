"""The one error that a user of AdaRank is meant to read, and how it quotes what was given."""

import re
import reprlib
from pathlib import Path

__all__ = ["AdaRankError", "by_name", "printable", "quoted"]

MOST_QUOTED = 200
MOST_SAID = 1000
QUOTE = re.compile(r"""(?<!\w)(?P<mark>['"])(?:(?!(?P=mark))[^\\]|\\.)*(?P=mark)""")
CUT = " … "


class AdaRankError(ValueError):
    """Bad input, in one sentence: what was wrong, quoting it, and what would be right.

    Pages show the message as it is; the command line prints it and exits with 2. Whatever went
    into it, the message is one line that a terminal can show: control characters are escaped, a
    quotation is cut to 200 characters and the whole to 1,000, both in the middle.

    Examples
    --------
    >>> raise AdaRankError("average_rank is 0; it must be at least 1")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: average_rank is 0; it must be at least 1
    """

    def __init__(self, message: str = ""):
        message = _cut(str(message), 4 * MOST_SAID)  # the search below need not read megabytes
        message = re.sub(r"\s*[\r\n]\s*", " ", message)  # what libraries say has several
        message = QUOTE.sub(lambda found: _cut(found[0], MOST_QUOTED), message)
        super().__init__(_cut(printable(message), MOST_SAID))


def printable(text: str) -> str:
    """Return a text in which nothing is left that a terminal would take for a command.

    Examples
    --------
    >>> print(printable("\x1b[31mred"))
    \\x1b[31mred
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def quoted(value, most: int = MOST_QUOTED) -> str:
    """Return ``repr(value)`` at bounded length and cost, cut in the middle.

    `AdaRankError` cuts what is too long by itself; this is for values that may be huge, deep or
    beyond what Python writes out, such as whatever stood in a file.

    Examples
    --------
    >>> quoted("caf\\udce9")
    "'caf\\\\udce9'"
    >>> quoted("a" * 10**6, 20)
    "'aaaaaaa … aaaaaaaa'"
    """
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = most
    short.fillvalue = CUT
    try:
        return _cut(short.repr(value), most)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        return f"a value of type {type(value).__name__} that is too large to show"


def by_name(error: AdaRankError, path: Path) -> str:
    """Return an error's sentence that calls a file by its name, not by where it lies.

    Examples
    --------
    >>> path = Path("/srv/uploads/ranks.json")
    >>> by_name(AdaRankError(f"{str(path)!r} is not valid JSON"), path)
    "'ranks.json' is not valid JSON"
    """
    written = str(AdaRankError(repr(str(path))))  # a long one is cut
    return str(error).replace(written, repr(path.name)).replace(str(path), path.name)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    start = (most - len(CUT)) // 2
    return text[:start] + CUT + text[len(CUT) + start - most :]
