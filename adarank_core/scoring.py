"""Algorithm 2 of the paper: how far apart two noisy models' logits are, module by module."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.models import (
    AdaptableModule,
    ModelBundle,
    adaptable_modules,
    fresh_head,
    longest_text,
)
from adarank_core.noise import add_to_output, generator_for, replace_output, weight_noise
from adarank_core.scores import ModuleScore, Scores
from adarank_core.texts import Texts, as_texts

__all__ = ["Progress", "encode", "logits_of", "mean_and_error", "score", "score_iter", "scoring"]

BATCH_SIZE = 16


@dataclass(frozen=True)
class Progress:
    """How far scoring has come.

    Parameters
    ----------
    done, total : int
        Modules scored so far, and in all.
    scores : Scores
        Of the modules scored so far; the last one yielded is the result.
    """

    done: int
    total: int
    scores: Scores


def score(bundle: ModelBundle, texts: Texts | Sequence[str], **options) -> Scores:
    """Score every adaptable module of a model; see `score_iter` for the options.

    Returns
    -------
    Scores

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> scores = score(load_model("embedded"), sentence("What is a rank?"), trials=2, seed=0)
    >>> len(scores.modules), scores.modules[0].score > 0
    (36, True)
    """
    *_, last = score_iter(bundle, texts, **options)
    return last.scores


def score_iter(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    *,
    trials: int = 5,
    estimator: str = "paired",
    mode: str = "paper",
    noise_scale: float = 1.0,
    modules: str | None = None,
    seed: int = 0,
    max_length: int = 128,
) -> Iterator[Progress]:
    """Score a model's modules one after another, yielding after each.

    Algorithm 2 of the paper: ``d_m = E over E1, E2 of mean over x of
    ||f(x; W + E1) - f(x; W + E2)||_1``, with ``f`` the logits, all other weights frozen and
    ``E1``, ``E2`` independent Gaussian noise of standard deviation ``noise_scale * std(W)``.

    Parameters
    ----------
    bundle : ModelBundle
        The weights are never written. The generator can be closed at any point.
    texts : Texts or sequence of str
    trials : int
        Independent pairs of noisy models, at least 2; the same noise for all texts.
    estimator : {"paired"}
        ``"paired"`` is the paper to the letter: two full forward passes a trial.
    mode : {"paper"}
    noise_scale : float
        Above 0.
    modules : str, optional
        Regular expression; only modules whose full name it matches somewhere are scored.
    seed : int
        Draws the noise and, for a sequence classifier, the head.
    max_length : int
        Longer texts are cut to this many tokens.

    Returns
    -------
    iterator of Progress

    Raises
    ------
    AdaRankError
        On bad options (at once), or if the logits are not finite (while scoring).

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> steps = score_iter(load_model("embedded"), sentence("What is a rank?"), trials=2)
    >>> next(steps).done
    1
    >>> steps.close()
    """
    texts = as_texts(texts)
    if estimator != "paired":
        raise AdaRankError(f"estimator is {estimator!r}; only 'paired' is built yet")
    if mode != "paper":
        raise AdaRankError(f"mode is {mode!r}; only 'paper' is built yet")
    if trials < 2:
        raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
    if not 0 < noise_scale < float("inf"):
        raise AdaRankError(f"noise_scale is {noise_scale}; it must be a number above 0")
    if not -(2**63) <= seed < 2**63:
        raise AdaRankError(f"seed is {seed}; it must fit into 64 bits")
    chosen = _matching(adaptable_modules(bundle.model), modules)
    batches = encode(bundle, texts, max_length)
    origin = {"source": texts.source, "count": len(texts), "sha256": texts.sha256}
    so_far = Scores(bundle.name, mode, estimator, float(noise_scale), seed, origin, ())
    return _paired(bundle.model, chosen, batches, trials, so_far)


def _paired(
    model: nn.Module,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    trials: int,
    so_far: Scores,
) -> Iterator[Progress]:
    results = []
    head = fresh_head(model, so_far.seed)
    for module in chosen:
        with scoring(model, head):
            distances = _paired_distances(model, module.name, batches, trials, so_far)
        results.append(_module_score(module, distances))
        scores = Scores(**{**vars(so_far), "modules": tuple(results)})
        yield Progress(len(results), len(chosen), scores)


def _paired_distances(
    model: nn.Module, name: str, batches: list[dict], trials: int, options: Scores
) -> np.ndarray:
    """Return trials × texts L1 distances of one module."""
    layer = model.get_submodule(name)

    def noisy_logits(instance):
        generator = generator_for(options.seed, name, instance)
        noise = weight_noise(layer.weight, options.noise_scale, generator)
        with add_to_output(layer, noise):
            return torch.cat([logits_of(model, batch) for batch in batches])

    distances = [
        (noisy_logits(2 * trial) - noisy_logits(2 * trial + 1)).abs().sum(dim=1)
        for trial in range(trials)
    ]
    return torch.stack(distances).double().cpu().numpy()


@contextmanager
def scoring(model: nn.Module, head: dict[str, nn.Module]) -> Iterator[None]:
    """Run the body without gradients or dropout and with the given head.

    Notes
    -----
    Nothing of the model is written: in this thread the head's output is replaced by that of
    ``head``. A model in training mode is put back into it afterwards.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode(), replace_output(model, head):
            yield
    finally:
        for module in training:
            module.training = True


def encode(bundle: ModelBundle, texts: Texts, max_length: int = 128) -> list[dict]:
    """Tokenise texts into padded batches, in the texts' order.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts
    max_length : int
        Longer texts are cut to this many tokens.

    Returns
    -------
    list of dict
        Each with ``input_ids`` and ``attention_mask``, int64 tensors of texts × tokens on the
        model's device, padded on the right.

    Raises
    ------
    AdaRankError
        If ``max_length`` is below 1 or above what the model reads, if a single sentence is longer
        than what the model reads, or if a text has no tokens.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> encode(load_model("embedded"), sentence("What is a rank?"))[0]["input_ids"].shape
    torch.Size([1, 7])
    """
    limit = longest_text(bundle)
    if not 1 <= max_length <= limit:
        raise AdaRankError(f"max_length is {max_length}; this model reads 1 to {limit} tokens")
    if texts.source == "sentence":
        count = len(bundle.tokenizer(texts.items[0], verbose=False)["input_ids"])
        if count > limit:
            raise AdaRankError(
                f"the sentence has {count:,} tokens and the model reads at most {limit}; shorten it"
            )
    device = bundle.model.device
    batches = []
    for start in range(0, len(texts), BATCH_SIZE):
        items = list(texts.items[start : start + BATCH_SIZE])
        tokens = bundle.tokenizer(
            items,
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        )
        lengths = tokens["attention_mask"].sum(dim=1)
        if (lengths == 0).any():
            empty = items[int(lengths.argmin())]
            raise AdaRankError(f"the text {empty!r} has no tokens for this model; write words")
        batches.append({key: tokens[key].to(device) for key in ("input_ids", "attention_mask")})
    return batches


def logits_of(model: nn.Module, batch: dict) -> torch.Tensor:
    """Return the logits that count: texts × labels, or texts × vocabulary at the last real token.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    batch : dict
        As `encode` makes it.

    Returns
    -------
    torch.Tensor
        float32 or float64; never a lower precision.
    """
    logits = model(**batch).logits
    if logits.dim() == 3:
        last = batch["attention_mask"].sum(dim=1) - 1
        logits = logits[torch.arange(len(last), device=last.device), last]
    return logits if logits.dtype == torch.float64 else logits.float()


def mean_and_error(distances: np.ndarray) -> tuple[float, float]:
    """Return the mean of a trials × texts table and its standard error.

    Both trials and texts are samples: the error is that of a two-way layout,
    ``Var = s²_trials / n + s²_texts / m - s²_residual / (n m)``, with ``s²_trials`` the variance
    of the trials' means (and so on). With one text it is that of the trials alone.

    Parameters
    ----------
    distances : numpy.ndarray
        n trials × m texts, n at least 2.

    Returns
    -------
    tuple of float
        Mean and standard error, in the unit of ``distances``.

    Examples
    --------
    >>> mean_and_error(np.array([[1.0], [3.0]]))
    (2.0, 1.0)
    """
    trials, texts = distances.shape
    mean = distances.mean()
    from_trials = distances.mean(axis=1).var(ddof=1) / trials
    if texts == 1:
        return float(mean), float(from_trials**0.5)
    from_texts = distances.mean(axis=0).var(ddof=1) / texts
    residual = distances - distances.mean(axis=1, keepdims=True) - distances.mean(axis=0) + mean
    shared = (residual**2).sum() / ((trials - 1) * (texts - 1)) / (trials * texts)
    variance = max(from_trials + from_texts - shared, from_trials, from_texts)
    return float(mean), float(variance**0.5)


def _module_score(module: AdaptableModule, distances: np.ndarray) -> ModuleScore:
    if not np.isfinite(distances).all():
        raise AdaRankError(
            f"the logits are not finite when {module.name!r} is noisy; the weights may be broken, "
            "or noise_scale too large"
        )
    return ModuleScore(
        **vars(module),
        **dict(zip(("score", "standard_error"), mean_and_error(distances), strict=True)),
    )


def _matching(modules: Sequence[AdaptableModule], pattern: str | None) -> list[AdaptableModule]:
    if pattern is None:
        return list(modules)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise AdaRankError(f"modules is {pattern!r}, no regular expression ({error})") from None
    chosen = [module for module in modules if expression.search(module.name)]
    if not chosen:
        raise AdaRankError(
            f"modules is {pattern!r}, which matches none of the {len(modules)} modules; "
            f"one of them is {modules[0].name!r}"
        )
    return chosen
