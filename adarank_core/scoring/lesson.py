"""What the lesson shows: logits of noisy models one by one, and what is read off them.

Scoring keeps only a mean a module; a lesson needs the single draws. They are the same draws: the
mean of `pair_distances` is the score that `adarank_core.score` gives the module with the head of
the seed (``head_draw="seed"``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from adarank_core.data.texts import sentence
from adarank_core.errors import AdaRankError

if TYPE_CHECKING:  # importing it takes seconds, and stored draws are read without it
    from adarank_core.scoring.models import ModelBundle

__all__ = [
    "NoisyLogits",
    "energy_kept",
    "mean_shift",
    "noisy_logits",
    "pair_distances",
    "rank_correlation",
    "ratio_with_error",
    "running_mean",
]

INSTANCES = 80


@dataclass(frozen=True)
class NoisyLogits:
    """Logits for one sentence: of the model as it is, and with noise on one module at a time.

    Parameters
    ----------
    model, sentence : str
    seed : int
        Draws the noise and the classification head.
    noise_scale : float
        Standard deviation of the noise over that of the module's weight.
    clean : list of float
        One logit a class.
    noisy : dict of str to list of list of float
        By the module's name: instances × classes. Instances 0 and 1 are the first pair, 2 and 3
        the second.

    Examples
    --------
    >>> drawn = NoisyLogits("tiny", "What?", 0, 1.0, [0.0, 1.0], {"query": [[0.0, 2.0]]})
    >>> NoisyLogits(**drawn.to_dict()) == drawn
    True
    """

    model: str
    sentence: str
    seed: int
    noise_scale: float
    clean: list[float]
    noisy: dict[str, list[list[float]]]

    def to_dict(self) -> dict:
        """Return a dictionary for JSON; the constructor takes its entries as keywords."""
        return asdict(self)


def noisy_logits(
    bundle: "ModelBundle",
    text: str,
    names: Sequence[str],
    *,
    instances: int = INSTANCES,
    noise_scale: float = 1.0,
    seed: int = 0,
) -> NoisyLogits:
    """Compute the logits of noisy models for one sentence, keeping every draw.

    Parameters
    ----------
    bundle : ModelBundle
    text : str
    names : sequence of str
        Full names of the modules to put noise on, one at a time.
    instances : int
        Noisy models a module; an even number, at least 4.
    noise_scale : float
    seed : int

    Returns
    -------
    NoisyLogits

    Raises
    ------
    AdaRankError
        If the sentence is blank or longer than the model reads, a module is unknown, or the number
        of instances is not right.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> name = "bert.encoder.layer.5.attention.self.value"
    >>> drawn = noisy_logits(load_model("embedded"), "What is a rank?", [name], instances=4)
    >>> len(drawn.clean), len(drawn.noisy[name])
    (2, 4)
    """
    import torch

    from adarank_core.scoring.encoding import encode, logits_of
    from adarank_core.scoring.heads import prepared
    from adarank_core.scoring.models import adaptable_modules
    from adarank_core.scoring.noise import add_to_output, generator_for, weight_noise

    if instances < 4 or instances % 2:
        raise AdaRankError(f"instances is {instances}; it must be an even number of at least 4")
    known = {module.name for module in adaptable_modules(bundle.model)}
    for name in names:
        if name not in known:
            raise AdaRankError(f"the module {name!r} is none of the model's {len(known)} modules")
    words = sentence(text)
    [batch] = encode(bundle, words)
    noisy = {}
    model = prepared(bundle, seed)
    with torch.inference_mode():
        clean = logits_of(model, batch)[0].tolist()
        for name in names:
            layer = model.get_submodule(name)
            noisy[name] = []
            for instance in range(instances):
                generator = generator_for(seed, name, instance)
                noise = weight_noise(layer.weight, noise_scale, generator)
                with add_to_output(layer, noise):
                    noisy[name].append(logits_of(model, batch)[0].tolist())
    return NoisyLogits(bundle.name, words.items[0], seed, noise_scale, clean, noisy)


def mean_shift(logits: Sequence[Sequence[float]], clean: Sequence[float]) -> float:
    """Return how far noise moves the logits from those of the untouched model, on average.

    Parameters
    ----------
    logits : sequence of sequence of float
        Instances × classes.
    clean : sequence of float

    Returns
    -------
    float
        Mean L1 distance.

    Examples
    --------
    >>> mean_shift([[0.0, 1.0], [2.0, 0.0]], [0.0, 0.0])
    1.5
    """
    return float(np.abs(np.asarray(logits, dtype=float) - clean).sum(axis=1).mean())


def pair_distances(logits: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the L1 distances of consecutive pairs of noisy models.

    Parameters
    ----------
    logits : sequence of sequence of float
        Instances × classes, an even number of instances.

    Returns
    -------
    numpy.ndarray
        One distance a pair: the sum over classes of the absolute differences.

    Examples
    --------
    >>> pair_distances([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [1.0, 1.0]]).tolist()
    [3.0, 0.0]
    """
    logits = np.asarray(logits, dtype=float)
    return np.abs(logits[0::2] - logits[1::2]).sum(axis=1)


def running_mean(distances: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the first 1, 2, 3, … distances, and its standard error.

    Parameters
    ----------
    distances : sequence of float

    Returns
    -------
    tuple of numpy.ndarray
        Means and standard errors, as long as ``distances``; one distance has no error (NaN).

    Examples
    --------
    >>> means, errors = running_mean([1.0, 3.0])
    >>> means.tolist(), errors.tolist()
    ([1.0, 2.0], [nan, 1.0])
    """
    distances = np.asarray(distances, dtype=float)
    count = np.arange(1, len(distances) + 1)
    means = np.cumsum(distances) / count
    errors = [distances[:n].std(ddof=1) / n**0.5 if n > 1 else np.nan for n in count]
    return means, np.array(errors)


def energy_kept(singular_values: Sequence[float]) -> np.ndarray:
    """Return the share of a matrix's energy that its best rank-1, 2, 3, … approximation keeps.

    The energy is the sum of the squares of all entries, which is that of all singular values; no
    matrix of rank r comes closer than the one that keeps the r largest (Eckart and Young, 1936).

    Examples
    --------
    >>> energy_kept([2.0, 1.0, 0.0]).tolist()
    [0.8, 1.0, 1.0]
    """
    energies = np.asarray(singular_values, dtype=float) ** 2
    return np.cumsum(energies) / energies.sum()


def ratio_with_error(high: tuple[float, float], low: tuple[float, float]) -> tuple[float, float]:
    """Return the ratio of two independent estimates and its standard error.

    The relative errors add up as squares, which is right to first order (the delta method).

    Parameters
    ----------
    high, low : tuple of float
        An estimate and its standard error; ``low`` is not 0.

    Examples
    --------
    >>> ratio_with_error((8.0, 0.6), (2.0, 0.2))
    (4.0, 0.5)
    """
    ratio = high[0] / low[0]
    return ratio, abs(ratio) * float(np.hypot(high[1] / high[0], low[1] / low[0]))


def rank_correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Return Spearman's rank correlation; equal values share their mean rank.

    Examples
    --------
    >>> round(rank_correlation([1.0, 2.0, 3.0], [0.1, 0.5, 0.9]), 12)
    1.0
    """
    both = []
    for each in (values, others):
        _, places, counts = np.unique(each, return_inverse=True, return_counts=True)
        both.append((np.cumsum(counts) - (counts - 1) / 2)[places])
    return float(np.corrcoef(*both)[0, 1])
