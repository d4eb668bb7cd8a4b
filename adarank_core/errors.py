"""The one error that a user of AdaRank is meant to read."""

__all__ = ["AdaRankError"]


class AdaRankError(ValueError):
    """Bad input, in one sentence: what was wrong, quoting it, and what would be right.

    Pages show the message as it is; the command line prints it and exits with 2.

    Examples
    --------
    >>> raise AdaRankError("average_rank is 0; it must be at least 1")
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: average_rank is 0; it must be at least 1
    """
