"""A task: texts with labels in three splits, and how a text finds its split."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from adarank_core.checks import is_whole
from adarank_core.data.texts import Texts, check_text
from adarank_core.errors import AdaRankError, quoted

__all__ = ["SPLITS", "Task", "normalised", "split_of"]

SPLITS = ("train", "validation", "test")
LONGEST_LABEL = 1000  # characters


@dataclass(frozen=True, eq=False)
class Task:
    """Texts with labels in three splits.

    Parameters
    ----------
    name : str
        ``"docstrings"``, a Hub task's name, or the file's or folder's name without its ending.
    label_names : tuple of str
        The name of label 0, 1, …; at least two.
    train, validation, test : pandas.DataFrame
        Columns ``text`` (str) and ``label`` (int, an index into ``label_names``). No text of
        ``test`` is in ``train`` or ``validation``, and none of ``validation`` in ``train``.

    Raises
    ------
    AdaRankError
        If the name, a label's name or a text is not UTF-8, blank or too long.

    Examples
    --------
    >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
    >>> Task("mine", ("bad", "good"), rows, rows, rows).sample_texts(1).source
    'mine'
    """

    name: str
    label_names: tuple[str, ...]
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame

    def __post_init__(self):
        check_text(self.name, "the name of the task")
        for label in self.label_names:
            check_text(label, "the name of a label")
            if len(label) > LONGEST_LABEL:
                raise AdaRankError(
                    f"the label {label!r} has {len(label):,} characters; give at most "
                    f"{LONGEST_LABEL:,}"
                )
        for split in SPLITS:
            for row, text in enumerate(getattr(self, split)["text"], start=1):
                check_text(text, f"text {row} of the {split} split")

    def sample_texts(self, count: int = 16, seed: int = 0) -> Texts:
        """Draw texts from ``train``, without their labels.

        Parameters
        ----------
        count : int
            At least 1; if there are fewer texts, all of them.
        seed : int
            The same seed draws the same texts.

        Returns
        -------
        Texts

        Raises
        ------
        AdaRankError
            If ``count`` is below 1 or ``seed`` below 0.

        Examples
        --------
        >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
        >>> len(Task("mine", ("bad", "good"), rows, rows, rows).sample_texts(16, seed=0))
        2
        """
        if not is_whole(count, 1, 10**9):
            raise AdaRankError(
                f"the number of texts to draw is {quoted(count)}; it must be at least 1"
            )
        if not is_whole(seed, 0, 2**64):
            raise AdaRankError(f"the seed is {quoted(seed)}; it must be at least 0")
        drawn = np.random.default_rng(seed).permutation(len(self.train))[:count]
        return Texts(self.name, tuple(self.train["text"].iloc[drawn]), sampled=True)


def normalised(text: str) -> str:
    """Return a text as it is compared: white space and case do not count.

    Examples
    --------
    >>> normalised("  What is\\na Rank? ")
    'what is a rank?'
    """
    return " ".join(text.split()).casefold()


def split_of(text: str) -> str:
    """Return the split that a text's SHA-256 sends it to: 80, 10 and 10 in a hundred.

    Depends on nothing but the text, so that more rows never move a row to another split.

    Examples
    --------
    >>> split_of("What is a rank?") == split_of("what is  a RANK?")
    True
    """
    digest = hashlib.sha256(normalised(text).encode("utf-8")).hexdigest()
    return {0: "test", 1: "validation"}.get(int(digest[:12], 16) % 10, "train")
