"""Other ways to say how important a module is, in the same shape as disagreement.

Each function returns `Scores` whose ``mode`` names it, so that ranks, exports and comparisons work
with all of them. Those that need labels say so. None has an error bar: ``standard_error`` is 0.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from adarank_core.data.texts import Texts, as_texts
from adarank_core.errors import AdaRankError
from adarank_core.hardware import in_double
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import AdaptableModule, ModelBundle, adaptable_modules
from adarank_core.scoring.quantised import unpacked
from adarank_core.scoring.scores import ModuleScore, Scores, origin_of
from adarank_core.scoring.unscored import unscored_weights

__all__ = [
    "depth_ramp",
    "empirical_fisher",
    "gradient_norm",
    "inverse",
    "lora_gradient",
    "plop",
    "random_scores",
    "snip",
    "stable_rank",
    "weight_norm",
]


def random_scores(bundle: ModelBundle, seed: int = 0) -> Scores:
    """Give every module a random score between 0 and 1.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> bundle = load_model("embedded")
    >>> random_scores(bundle, 0) == random_scores(bundle, 0) != random_scores(bundle, 1)
    True
    """
    draw = random.Random(f"random/{seed}")
    return replace(_of_modules(bundle, "random", lambda name, module: draw.random()), seed=seed)


def weight_norm(bundle: ModelBundle) -> Scores:
    """Score a module by the Frobenius norm of its pretrained weight.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> weight_norm(load_model("embedded")).modules[0].score > 1
    True
    """
    return _of_modules(
        bundle, "weight-norm", lambda name, module: float(module.weight.detach().norm())
    )


def stable_rank(bundle: ModelBundle) -> Scores:
    """Score a module by its weight's stable rank, ``(Frobenius norm / largest singular value)²``.

    A weight of zeros has the stable rank 0.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> scores = stable_rank(load_model("embedded"))
    >>> all(1 <= module.score <= 384 for module in scores.modules)
    True
    """

    def of(_name, module):
        weight = module.weight.detach().float()
        if not weight.isfinite().all():
            return math.nan
        values = torch.linalg.svdvals(weight)
        return float((values**2).sum() / values[0] ** 2) if values[0] else 0.0

    return _of_modules(bundle, "stable-rank", of)


def depth_ramp(scores: Scores, up: bool = True) -> Scores:
    """Replace every score by its layer's number from the input, from 1 (or from the output).

    Examples
    --------
    >>> query = [ModuleScore(f"{n}.query", n, "query", 8, 8, 1.0, 0.0) for n in range(3)]
    >>> plain = Scores("tiny", "none", "none", 1.0, 0, {}, tuple(query))
    >>> [module.score for module in depth_ramp(plain, up=False).modules]
    [3.0, 2.0, 1.0]
    """
    deepest = max(module.layer for module in scores.modules)
    ramp = [m.layer + 1 if up else deepest - m.layer + 1 for m in scores.modules]
    return _with(scores, "ramp-up" if up else "ramp-down", ramp)


def inverse(scores: Scores) -> Scores:
    """Replace every score by one over it: ranks that are as wrong as they can be.

    Raises
    ------
    AdaRankError
        If a score is 0.

    Examples
    --------
    >>> query = (ModuleScore("0.query", 0, "query", 8, 8, 4.0, 0.0),)
    >>> inverse(Scores("tiny", "none", "none", 1.0, 0, {}, query)).modules[0].score
    0.25
    """
    zero = next((module.name for module in scores.modules if module.score == 0), None)
    if zero is not None:
        raise AdaRankError(f"the score of {zero!r} is 0, which has no inverse; exclude the module")
    return _with(scores, "inverse", [1 / module.score for module in scores.modules])


def gradient_norm(
    bundle: ModelBundle, texts: Texts | Sequence[str], labels: Sequence[int], seed: int = 0
) -> Scores:
    """Score a module by the norm of the mean loss's gradient. Needs labels.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts or sequence of str
    labels : sequence of int
        One a text.
    seed : int
        Draws the head.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> scores = gradient_norm(load_model("embedded"), ["Good.", "Bad."], [1, 0])
    >>> scores.modules[0].score > 0
    True
    """
    return _from_gradients(
        bundle, texts, labels, seed, "gradient", lambda weight, mean, square: mean.norm()
    )


def snip(
    bundle: ModelBundle, texts: Texts | Sequence[str], labels: Sequence[int], seed: int = 0
) -> Scores:
    """Score a module by the sum of ``|gradient * weight|`` (Lee et al., 2019). Needs labels.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> snip(load_model("embedded"), ["Good.", "Bad."], [1, 0]).modules[0].score > 0
    True
    """
    return _from_gradients(
        bundle,
        texts,
        labels,
        seed,
        "snip",
        lambda weight, mean, square: (mean * weight).abs().sum(),
    )


def empirical_fisher(
    bundle: ModelBundle, texts: Texts | Sequence[str], labels: Sequence[int], seed: int = 0
) -> Scores:
    """Score a module by its weight's mean squared gradient, summed over entries. Needs labels.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> empirical_fisher(load_model("embedded"), ["Good.", "Bad."], [1, 0]).modules[0].score > 0
    True
    """
    return _from_gradients(
        bundle, texts, labels, seed, "fisher", lambda weight, mean, square: square.sum()
    )


def lora_gradient(
    bundle: ModelBundle, texts: Texts | Sequence[str], labels: Sequence[int], seed: int = 0
) -> Scores:
    """Score a module by the squared gradient at LoRA's ``B``, at its start. Needs labels.

    With LoRA in place (``B = 0``, ``A`` drawn and frozen) a text's gradient at ``B`` is ``G Aᵀ``,
    where ``G`` (out × in) is that at the weight. Its mean square over texts, summed over ``B``'s
    entries, is the squared mean plus the variance. This is what FIM-LoRA takes (the diagonal of
    the empirical Fisher information of ``B``, arXiv 2605.16800) and PAGE (the energy of the
    projected gradient, of DomLoRA, arXiv 2605.06183). Both draw one ``A``. The mean over all
    draws has a closed form and no error: entries of variance ``1 / (3 in)``, which PEFT draws,
    make ``E ‖G Aᵀ‖² = rank ‖G‖² / (3 in)``. The score is this for rank 1, without the scaling that
    is the same for all modules; so it is `empirical_fisher` for an input.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts or sequence of str
    labels : sequence of int
        One a text.
    seed : int
        Draws the head.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> lora_gradient(load_model("embedded"), ["Good.", "Bad."], [1, 0]).modules[0].score > 0
    True
    """
    fisher = empirical_fisher(bundle, texts, labels, seed)
    of_b = [module.score / (3 * module.in_features) for module in fisher.modules]
    return _with(fisher, "lora-gradient", of_b)


def plop(
    bundle: ModelBundle, texts: Texts | Sequence[str], seed: int = 0, max_length: int = 128
) -> Scores:
    """Score a module by how little its weight is aligned with the texts. Needs no labels.

    PLoP (Hayou et al., arXiv 2506.20629) compares the norm of ``W x``, ``x`` a token's input, with
    that of ``W z``, ``z`` random and as long as ``x``: the normalised feature norm. It puts LoRA
    where that is lowest, for a module that is aligned has less to learn. So the score is one over
    it: ``‖W‖ / sqrt(in)``, the root mean square of ``‖W z‖`` over all ``z`` of length 1, over the
    mean of ``‖W x‖ / ‖x‖`` over the texts' tokens.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts or sequence of str
    seed : int
        Draws the head, which some models need to run; it does not count.
    max_length : int
        Longer texts are cut to this many tokens.

    Examples
    --------
    >>> from adarank_core import generic_texts, load_model
    >>> plop(load_model("embedded"), generic_texts()).modules[0].score > 0
    True
    """
    texts = as_texts(texts)
    model = prepared(bundle, seed)
    widths = {module.name: module.in_features for module in adaptable_modules(model)}
    ratios: dict[str, list[torch.Tensor]] = {name: [] for name in widths}

    def add(name, module, inputs, output):
        found = in_double(output)
        if module.bias is not None:
            found = found - in_double(module.bias)
        given, found = (x.flatten(0, -2).norm(dim=1) for x in (in_double(inputs[0]), found))
        ratios[name].append((found / given)[given > 0])

    for name in widths:
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: add(name, module, inputs, output)
        )
    with torch.inference_mode():
        for batch in encode(bundle, texts, max_length, batch_size=1):  # so without padding
            logits_of(model, batch)

    def of(name, module):
        mean = float(torch.cat(ratios[name]).mean()) if ratios[name] else math.nan
        random_norm = float(in_double(unpacked(module).detach()).norm()) / math.sqrt(widths[name])
        return random_norm / mean if mean else math.inf

    return replace(_of_modules(bundle, "plop", of), seed=seed, texts=origin_of(texts))


def _from_gradients(bundle, texts, labels, seed, mode, importance) -> Scores:
    """Score by ``importance(weight, mean gradient, mean squared gradient)`` of the loss."""
    texts = as_texts(texts)
    if len(labels) != len(texts):
        raise AdaRankError(f"there are {len(labels)} labels for {len(texts)} texts; give one each")
    model, names, weights = _with_gradients(bundle, seed)
    means = [torch.zeros_like(weight) for weight in weights]
    squares = [torch.zeros_like(weight) for weight in weights]
    for item, label in zip(texts.items, labels, strict=True):
        [batch] = encode(bundle, Texts(texts.source, (item,)))
        logits = logits_of(model, batch)
        if not 0 <= label < logits.shape[1]:
            raise AdaRankError(f"the label {label} is none of the head's {logits.shape[1]} classes")
        loss = nn.functional.cross_entropy(logits, torch.tensor([label], device=logits.device))
        for mean, square, gradient in zip(
            means, squares, torch.autograd.grad(loss, weights, allow_unused=True), strict=True
        ):
            if gradient is not None:
                mean += gradient / len(texts)
                square += gradient**2 / len(texts)
    values = {
        name: float(importance(weight.detach(), mean, square))
        for name, weight, mean, square in zip(names, weights, means, squares, strict=True)
    }
    scores = _of_modules(bundle, mode, lambda name, module: values[name])
    return replace(scores, seed=seed, texts=origin_of(texts))


def _with_gradients(bundle, seed) -> tuple[nn.Module, list[str], list[nn.Parameter]]:
    """Return a private copy, its modules' names, and their weights, which all take gradients.

    The copy shares the bundle's numbers but has parameters of its own: a model that is loaded
    frozen stays frozen.
    """
    model = prepared(bundle, seed)
    names = [module.name for module in adaptable_modules(model)]
    for layer in map(model.get_submodule, names):
        layer.weight = nn.Parameter(layer.weight.detach())
    return model, names, [model.get_submodule(name).weight for name in names]


def _of_modules(bundle, mode: str, value: Callable[[str, nn.Linear | Conv1D], float]) -> Scores:
    modules = tuple(
        _finite(module, mode, value(module.name, bundle.model.get_submodule(module.name)))
        for module in adaptable_modules(bundle.model)
    )
    return Scores(
        *(bundle.name, mode, "none", 0.0, 0, {}, modules),
        task_type=bundle.task_type,
        not_scored=unscored_weights(bundle.model),
    )


def _finite(module: AdaptableModule, mode: str, value: float) -> ModuleScore:
    if not math.isfinite(value):
        raise AdaRankError(
            f"the {mode} score of {module.name!r} is {value}; the weights may be broken, or too "
            "large for their precision"
        )
    return ModuleScore(**vars(module), score=value, standard_error=0.0)


def _with(scores: Scores, mode: str, values: Sequence[float]) -> Scores:
    modules = tuple(
        replace(module, score=float(value), standard_error=0.0)
        for module, value in zip(scores.modules, values, strict=True)
    )
    return replace(scores, mode=mode, modules=modules)
