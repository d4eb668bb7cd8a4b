"""Batches of texts of like length and of all classes: little padding, and nothing lost in learning.

Batches of like length alone are half as much work to train on, but length tells the class: of six
kinds of docstrings such batches were twice as uneven in class as random ones, and at a learning
rate of 5e-3 two of five trainings collapsed to guessing. So length is looked at within each class.
What padding that leaves is saved by computing a batch in parts of like length, whose gradients add
up to the batch's.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pandas as pd
from transformers import Trainer

from adarank_core.training.callbacks import Stopped

__all__ = ["LengthGroupedOrder", "PartsTrainer", "parts_of_like_length"]

# Batches of this many are drawn at random, sorted by length, cut, and shuffled again.
GROUPED_BATCHES = 20
# What a part costs beside its tokens, in tokens: calling all layers forth and back.
PART_COST = 48


class LengthGroupedOrder:
    """The order of a run's examples: a batch holds texts of like length for their group.

    The data are shuffled anew for every pass. Within windows of 20 batches examples are sorted by
    their place among the lengths of their own group, from its shortest to its longest, and cut
    into batches, so that each has the groups in their proportion. All batches of a pass are
    shuffled, so that length tells nothing about when a text is seen. What does not fill a batch
    moves to the next pass.

    It is a sampler for torch's ``DataLoader``: its items are drawn while they are asked for, pass
    by pass, so that a long run neither waits for its order nor holds it. The items depend on the
    arguments alone, so that all arms of a comparison see the same batches.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each example.
    groups : sequence of int
        Group of each example, such as its class.
    batch_size, steps, seed : int
        There are ``steps * batch_size`` items: positions in ``lengths``.

    Examples
    --------
    >>> list(LengthGroupedOrder([5, 1, 8, 2], [0, 0, 1, 1], batch_size=2, steps=2, seed=0))
    [2, 0, 1, 3]
    """

    def __init__(
        self,
        lengths: Sequence[int],
        groups: Sequence[int],
        batch_size: int,
        steps: int,
        seed: int,
    ):
        self.lengths, self.groups = np.asarray(lengths), np.asarray(groups)
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        self.passed, self.should_stop = 0, None

    def pass_over(self, steps: int, should_stop: Callable[[], bool]) -> None:
        """Raise `Stopped` when told to within the first ``steps``, which were trained before.

        A run that goes on draws their batches and passes over them, a minute for 10^8 texts.
        """
        self.passed, self.should_stop = steps, should_stop

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        for step, batch in enumerate(islice(self._batches(), self.steps)):
            if step < self.passed and self.should_stop():
                raise Stopped
            yield from batch.tolist()

    def _batches(self) -> Iterator[np.ndarray]:
        """Yield batches without end."""
        random, size = np.random.default_rng(self.seed), self.batch_size
        examples, waiting = len(self.lengths), np.empty(0, dtype=int)
        while True:
            while len(waiting) < size:
                waiting = np.concatenate([waiting, random.permutation(examples)])
            full = len(waiting) - len(waiting) % size
            ready = []
            for start in range(0, full, GROUPED_BATCHES * size):
                part = waiting[start : min(start + GROUPED_BATCHES * size, full)]
                place = _place_in_group(self.lengths[part], self.groups[part])
                part = part[np.argsort(place, kind="stable")]
                ready += np.split(part, len(part) // size)
            for at in random.permutation(len(ready)):
                yield ready[at]
            waiting = np.concatenate([waiting[full:], random.permutation(examples)])


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

    Parameters
    ----------
    *args, **options
        Trainer's own.
    order : sized iterable of int, optional
        Rows of the training data, in the order of training.

    Examples
    --------
    >>> issubclass(PartsTrainer, Trainer)
    True
    """

    share = 1.0  # of the batch's texts, in the part at hand

    def __init__(self, *args, order: Iterable[int] | None = None, **options):
        super().__init__(*args, **options)
        self.order = order

    def _get_train_sampler(self, train_dataset=None):
        """Return the order, for the data loader that Trainer builds."""
        return self.order

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
