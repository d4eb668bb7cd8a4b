"""Batches of texts of like length and of all classes: little padding, and nothing lost in learning.

Batches of like length alone are half as much work to train on, but length tells the class: of six
kinds of docstrings such batches were twice as uneven in class as random ones, and at a learning
rate of 5e-3 two of five trainings collapsed to guessing. So length is looked at within each class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

__all__ = ["length_grouped_order"]

# Batches of this many are drawn at random, sorted by length, cut, and shuffled again.
GROUPED_BATCHES = 20


def length_grouped_order(
    lengths: Sequence[int], labels: Sequence[int], batch_size: int, steps: int, seed: int
) -> list[int]:
    """Order a run's examples so that a batch holds texts of like length for their class.

    The data are shuffled anew for every pass. Within windows of 20 batches examples are sorted by
    their place among the lengths of their own class, from its shortest to its longest, and cut
    into batches, so that each has the classes in their proportion. All batches of a pass are
    shuffled, so that length tells nothing about when a text is seen. What does not fill a batch
    moves to the next pass.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each example.
    labels : sequence of int
        Class of each example.
    batch_size, steps, seed : int

    Returns
    -------
    list of int
        ``steps * batch_size`` positions in ``lengths``, in the order of training. It depends on
        the arguments alone, so that all arms of a comparison see the same batches.

    Examples
    --------
    >>> length_grouped_order([5, 1, 8, 2], [0, 0, 1, 1], batch_size=2, steps=2, seed=0)
    [2, 0, 1, 3]
    """
    random, lengths, labels = np.random.default_rng(seed), np.asarray(lengths), np.asarray(labels)
    batches, waiting = [], np.empty(0, dtype=int)
    while len(batches) < steps:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, random.permutation(len(lengths))])
        full = len(waiting) - len(waiting) % batch_size
        window = GROUPED_BATCHES * batch_size
        ready = []
        for start in range(0, full, window):
            part = waiting[start : min(start + window, full)]
            part = part[np.argsort(_place_in_class(lengths[part], labels[part]), kind="stable")]
            ready += np.split(part, len(part) // batch_size)
        batches += [ready[at] for at in random.permutation(len(ready))]
        waiting = np.concatenate([waiting[full:], random.permutation(len(lengths))])
    return [int(at) for batch in batches[:steps] for at in batch]


def _place_in_class(lengths: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return where each length stands among those of its class, between 0 and 1."""
    by_class = pd.Series(lengths).groupby(labels)
    return ((by_class.rank(method="first") - 0.5) / by_class.transform("size")).to_numpy()
