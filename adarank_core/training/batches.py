"""Batches of texts of like length and of all classes: little padding, and nothing lost in learning.

Batches of like length alone are half as much work to train on, but length tells the class: of six
kinds of docstrings such batches were twice as uneven in class as random ones, and at a learning
rate of 5e-3 two of five trainings collapsed to guessing. So length is looked at within each class.
What padding that leaves is saved by computing a batch in parts of like length, whose gradients add
up to the batch's.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from transformers import Trainer

__all__ = ["PartsTrainer", "length_grouped_order", "parts_of_like_length"]

# Batches of this many are drawn at random, sorted by length, cut, and shuffled again.
GROUPED_BATCHES = 20
# What a part costs beside its tokens, in tokens: calling all layers forth and back.
PART_COST = 48


def length_grouped_order(
    lengths: Sequence[int], groups: Sequence[int], batch_size: int, steps: int, seed: int
) -> list[int]:
    """Order a run's examples so that a batch holds texts of like length for their group.

    The data are shuffled anew for every pass. Within windows of 20 batches examples are sorted by
    their place among the lengths of their own group, from its shortest to its longest, and cut
    into batches, so that each has the groups in their proportion. All batches of a pass are
    shuffled, so that length tells nothing about when a text is seen. What does not fill a batch
    moves to the next pass.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each example.
    groups : sequence of int
        Group of each example, such as its class.
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
    random, lengths, groups = np.random.default_rng(seed), np.asarray(lengths), np.asarray(groups)
    batches, waiting = [], np.empty(0, dtype=int)
    while len(batches) < steps:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, random.permutation(len(lengths))])
        full = len(waiting) - len(waiting) % batch_size
        window = GROUPED_BATCHES * batch_size
        ready = []
        for start in range(0, full, window):
            part = waiting[start : min(start + window, full)]
            part = part[np.argsort(_place_in_group(lengths[part], groups[part]), kind="stable")]
            ready += np.split(part, len(part) // batch_size)
        batches += [ready[at] for at in random.permutation(len(ready))]
        waiting = np.concatenate([waiting[full:], random.permutation(len(lengths))])
    return [int(at) for batch in batches[:steps] for at in batch]


def _place_in_group(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return where each length stands among those of its group, between 0 and 1."""
    by_group = pd.Series(lengths).groupby(groups)
    return ((by_group.rank(method="first") - 0.5) / by_group.transform("size")).to_numpy()


def parts_of_like_length(lengths: Sequence[int], cost: float = PART_COST) -> list[list[int]]:
    """Split a batch into parts so that computing all of them takes least.

    A part takes as long as its tokens, each text padded to the longest, and ``cost`` more. Of all
    ways to split the texts, sorted by length, the best is found by dynamic programming.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    cost : float
        Of a part, in tokens.

    Returns
    -------
    list of list of int
        Positions in ``lengths``: every one in one part, the parts of the shortest first.

    Examples
    --------
    >>> parts_of_like_length([40, 5, 6, 38], cost=10)
    [[1, 2], [3, 0]]
    """
    by_length = sorted(range(len(lengths)), key=lambda at: lengths[at])
    # Least cost of the shortest texts, by their number, and where the last part of these begins.
    least, begins = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        longest = lengths[by_length[end - 1]]
        costs = [least[begin] + (end - begin) * longest + cost for begin in range(end)]
        begins.append(int(np.argmin(costs)))
        least.append(costs[begins[-1]])
    parts, end = [], len(lengths)
    while end:
        parts.append(by_length[begins[end] : end])
        end = begins[end]
    return parts[::-1]


class PartsTrainer(Trainer):
    """Trainer that computes a batch part by part, where that saves padding: on a processor.

    A GPU takes about as long for a part as for the whole of such batches, so it gets them whole.

    Examples
    --------
    >>> issubclass(PartsTrainer, Trainer)
    True
    """

    share = 1.0  # of the batch's texts, in the part at hand

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Add up the gradients of a batch's parts; return its mean loss."""
        loss = 0.0
        for part, share in _parts(inputs, split=self.args.use_cpu):
            self.share = share
            # Told no number of items, a loss is the mean over the part.
            loss += super().training_step(model, part, None)
        return loss

    def floating_point_ops(self, inputs):
        """Return nothing: nobody asks, and Trainer counts all weights anew at every step."""
        return 0

    def compute_loss(self, model, inputs, return_outputs=False, **options):
        """Return the part's contribution to the batch's mean loss, or in evaluation its own."""
        found = super().compute_loss(model, inputs, return_outputs, **options)
        return found if return_outputs else self.share * found


def _parts(inputs: dict, split: bool) -> Iterator[tuple[dict, float]]:
    """Yield a padded batch's parts without the padding that they need not, and their shares."""
    mask = inputs["attention_mask"]
    texts = len(mask)
    parts = parts_of_like_length(mask.sum(dim=1).tolist()) if split else [list(range(texts))]
    for rows in parts:
        needed = mask[rows].any(dim=0)
        part = {
            name: values[rows] if values.dim() == 1 else values[rows][:, needed]
            for name, values in inputs.items()
        }
        yield part, len(rows) / texts
