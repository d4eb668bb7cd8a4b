"""The head of a model: what of it is trained, what is random, and what scoring compares there.

A sequence classifier has no trained head before fine-tuning, and a score taken with one random
draw hangs on that draw. The expectation over the last linear layer has a closed form: with ``C``
rows of independent normal entries of deviation ``sigma``, and ``Delta`` the difference of what
enters the layer, ``E ||W Delta||_1 = C sigma sqrt(2 / pi) ||Delta||_2``, for each entry of
``W Delta`` is normal with deviation ``sigma ||Delta||_2``. So no head is needed, only what enters
it. Where random layers stand before the last one, those are drawn several times.

What is random is told by the checkpoint (the weights it did not have), not by any layer's name.

A language model keeps its own head. Of a large vocabulary some rows of it are drawn, for the L1
distance over all of them is expected to be the vocabulary's size times the mean over the drawn.
"""

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from adarank_core.errors import AdaRankError
from adarank_core.hardware import in_double
from adarank_core.scoring.encoding import has_classification_head, logits_of, rounding
from adarank_core.scoring.noise import generator_for
from adarank_core.scoring.options import ScoringOptions

if TYPE_CHECKING:  # which builds on this file
    from adarank_core.scoring.models import ModelBundle

__all__ = [
    "Readout",
    "fresh_head",
    "head_names",
    "prepared",
    "private_copy",
    "readout",
    "trained_names",
]

# How often random layers before the last one are drawn: one draw moves a module's score by 1.6% to
# 3.6% with 384 features, so that 8 add less than the noise.
DRAWS = 8
# Into how many groups the drawn rows of a vocabulary fall, whose spread tells their error.
GROUPS = 16


@dataclass(frozen=True)
class Readout:
    """A model to put noise into, and how far apart two of its outputs are.

    A text's distance is the mean over ``draws`` groups of values of
    ``scale * ||difference||_norm``.

    Parameters
    ----------
    model : torch.nn.Module
        A private copy in evaluation mode; its logits are the values that are compared.
    head_draw : {"expected", "seed", "trained"}
        Whose head it is: the expectation over random ones, the seed's, or the checkpoint's own.
    norm : {1, 2}
    scale : float
    draws : int
        Into how many groups of equal size a text's values fall, in order.
    unseen : float
        Which share of all that the groups are drawn from is in none of them.
    """

    model: nn.Module
    head_draw: str
    norm: int = 1
    scale: float = 1.0
    draws: int = 1
    unseen: float = 1.0

    def distances(self, values: torch.Tensor) -> torch.Tensor:
        """Return the distances of all pairs of noisy instances.

        Parameters
        ----------
        values : torch.Tensor
            texts × instances × values, as the model gives them.

        Returns
        -------
        torch.Tensor
            texts × draws × instances × instances, float64.

        Examples
        --------
        >>> Readout(nn.Identity(), "expected", norm=2).distances(torch.tensor([[[0, 0], [3.0, 4]]]))
        tensor([[[[0., 5.],
                  [5., 0.]]]], dtype=torch.float64)
        """
        groups = in_double(values).unflatten(2, (self.draws, -1)).transpose(1, 2).contiguous()
        # Not by the difference of squares, which loses what two near values differ by.
        exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
        return self.scale * torch.cdist(groups, groups, p=self.norm, **exact)


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a model's structure but none of its weights, in evaluation mode.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> private_copy(layer).weight is layer.weight
    True
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():  # bitsandbytes keeps what an 8-bit weight goes with apart
        beside = getattr(getattr(module, "state", None), "__dict__", {}).values()
        shared |= {id(value): value for value in beside if isinstance(value, torch.Tensor)}
    own = copy.deepcopy(model, shared)
    for module in own.modules():
        if hasattr(module, "config"):
            module.config.use_cache = False  # a second call must not see the first one's keys
    return own.eval()


def head_names(model: nn.Module) -> tuple[str, ...]:
    """Name the children outside the base model that hold parameters: the head."""
    base = model.base_model_prefix
    return tuple(
        name
        for name, child in model.named_children()
        if name != base and next(child.parameters(), None) is not None
    )


def fresh_head(bundle: "ModelBundle", seed: int, draw: int = 0) -> dict[str, nn.Linear]:
    """Draw the random layers of a classifier that belong to a seed; the model is not changed.

    Every arm of a comparison trains from them.

    Parameters
    ----------
    bundle : ModelBundle
    seed : int
    draw : int
        Counts the draws of one seed, from 0.

    Returns
    -------
    dict of str to torch.nn.Linear
        New modules by their full name: those whose weight the checkpoint did not have, inside the
        head or before it (a pooler), or has as zeros in the head. Weights are normal with the
        configuration's ``initializer_range``, biases zero. Empty for a model with a trained head.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> sorted(fresh_head(load_model("embedded"), seed=0))
    ['classifier']
    """
    drawn = {}
    for name in _random_layers(bundle):
        layer = copy.deepcopy(bundle.model.get_submodule(name))
        weight = layer.weight.new_empty(layer.weight.shape, device="cpu", dtype=torch.float32)
        child, _, inner = name.partition(".")  # the generator's name of old, by which heads stay
        generator = generator_for(seed, f"head/{child}.{inner}", draw)
        layer.weight.data.copy_(weight.normal_(0.0, _deviation(bundle.model), generator=generator))
        if layer.bias is not None:
            layer.bias.data.zero_()
        drawn[name] = layer
    return drawn


def trained_names(bundle: "ModelBundle") -> list[str]:
    """Name what is trained beside an adapter: a classifier's head, and what is random before it.

    Were a random pooler left as it was drawn, it would be in no adapter's file. A language model
    keeps its own head as it is.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> trained_names(load_model("embedded"))
    ['classifier']
    """
    if not has_classification_head(bundle.model):
        return []
    names = list(head_names(bundle.model))
    heads = tuple(f"{name}." for name in names)
    return names + [name for name in _random_layers(bundle) if not f"{name}.".startswith(heads)]


def _random_layers(bundle: "ModelBundle") -> list[str]:
    """Name the linear layers of a classifier whose weights are at random, in the model's order."""
    model = bundle.model
    if not has_classification_head(model):
        return []
    heads = tuple(f"{name}." for name in head_names(model))

    def is_random(name, layer):
        in_head = f"{name}.".startswith(heads)
        if bundle.random is None:
            return in_head
        return f"{name}.weight" in bundle.random or (in_head and not layer.weight.any())

    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return [name for name, layer in layers if is_random(name, layer)]


def _deviation(model: nn.Module) -> float:
    """Return the deviation of a random layer's weights; a configuration may hold anything."""
    deviation = getattr(model.config, "initializer_range", None)
    usable = type(deviation) in (int, float) and 0 < deviation < math.inf
    return deviation if usable else 0.02


def prepared(bundle: "ModelBundle", seed: int) -> nn.Module:
    """Return a private copy of a model, in evaluation mode and with the head of the seed.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> bundle = load_model("embedded")
    >>> prepared(bundle, seed=0).base_model.pooler.dense.weight is (
    ...     bundle.model.base_model.pooler.dense.weight)
    True
    """
    model = private_copy(bundle.model)
    for name, layer in fresh_head(bundle, seed).items():
        model.set_submodule(name, layer)
    return model


def readout(bundle: "ModelBundle", options: ScoringOptions, batch: dict) -> Readout:
    """Say what of a model is compared, and give the model that computes it.

    Parameters
    ----------
    bundle : ModelBundle
    options : ScoringOptions
        Resolved; its seed draws what is drawn of a head.
    batch : dict of str to torch.Tensor
        Its first text tries what is to replace the head.

    Returns
    -------
    Readout

    Raises
    ------
    AdaRankError
        If the logits are not finite, or if the expectation over heads is asked for and the head
        does not end in a linear layer.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> batch = {"input_ids": torch.tensor([[101, 102]]), "attention_mask": torch.ones(1, 2).int()}
    >>> found = readout(load_model("embedded"), ScoringOptions(), batch)
    >>> found.norm, found.draws, found.model.classifier
    (2, 1, Identity())
    """
    model, one = prepared(bundle, options.seed), {key: value[:1] for key, value in batch.items()}
    with torch.no_grad():  # layers made under inference mode would know no gradients
        logits = logits_of(model, one)
        if not logits.isfinite().all():
            raise AdaRankError(
                f"the logits of {bundle.name!r} are not finite; its weights may be broken, or too "
                "large for their precision"
            )
        if options.logits == "all":
            return _of_all_tokens(model, options, one)
        random = _random_layers(bundle)
        if not random or options.head_draw == "seed":
            return Readout(model, "seed" if random else "trained")
        for name in reversed(random):
            last = model.get_submodule(name)
            if last.out_features != logits.shape[1]:
                continue
            found = _expected(bundle, model, options.seed, [n for n in random if n != name], name)
            if _is_last(found, last, one, logits):
                return found
            model = prepared(bundle, options.seed)
    raise AdaRankError(
        f"the head of {bundle.name!r} does not end in a linear layer over which an expectation is "
        "known; use head_draw 'seed'"
    )


def _expected(
    bundle: "ModelBundle", model: nn.Module, seed: int, before: list[str], name: str
) -> Readout:
    """Take the expectation over one last layer, with the random layers before it drawn often."""
    last = model.get_submodule(name)
    draws = DRAWS if before else 1
    scale = last.out_features * _deviation(model) * math.sqrt(2 / math.pi)
    several = [fresh_head(bundle, seed, draw) for draw in range(draws)] if before else []
    heads = tuple(f"{head}." for head in head_names(model))
    for path, layer in list(model.named_modules()):
        if path in before:
            model.set_submodule(path, _SideBySide([drawn[path] for drawn in several]))
        elif before and path.startswith(heads) and _holds_weights(layer):  # such as a norm
            model.set_submodule(path, _SideBySide([layer] * draws))
    model.set_submodule(name, nn.Identity())
    return Readout(model, "expected", norm=2, scale=scale, draws=draws)


def _holds_weights(layer: nn.Module) -> bool:
    return next(layer.children(), None) is None and next(layer.parameters(), None) is not None


def _is_last(found: Readout, last: nn.Linear, batch: dict, logits: torch.Tensor) -> bool:
    """Tell whether the logits of the seed's head are a layer's on what is compared."""
    try:
        entering = logits_of(found.model, batch).unflatten(1, (found.draws, -1))[:, 0]
        entering = entering.to(last.weight.dtype)
        again = nn.functional.linear(entering, last.weight, last.bias).to(logits.dtype)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # of whatever a head wants that is built another way
        return False
    return bool((again - logits).abs().max() <= rounding(found.model) * logits.abs().max())


def _of_all_tokens(model: nn.Module, options: ScoringOptions, batch: dict) -> Readout:
    """Compare a language model's logits at all tokens of a text, of a sample of its vocabulary.

    The logits are divided by the text's number of tokens, and 0 at padding: the L1 distance of two
    rows is the mean over tokens of the L1 distance over the vocabulary.
    """
    model.gives_all_logits = True  # `logits_of` asks other language models for few
    whole = logits_of(model, batch)
    vocabulary = whole.shape[-1]
    size, groups = (options.vocabulary_sample or vocabulary) // GROUPS * GROUPS, GROUPS
    all_rows = options.vocabulary_sample is None or options.vocabulary_sample >= vocabulary
    if all_rows or not _keep_rows(model, size, options.seed, whole, batch):
        size, groups = vocabulary, 1

    def flatten(_model, _args, batch, output):
        mask, logits = batch["attention_mask"], output.logits
        logits = logits if logits.dtype == torch.float64 else logits.float()
        padding = mask[:, :, None] == 0
        by_token = logits.masked_fill(padding, 0) / mask.sum(dim=1)[:, None, None]
        by_group = by_token.unflatten(2, (groups, -1))
        output.logits = by_group.transpose(1, 2).flatten(start_dim=1)
        return output

    model.register_forward_hook(flatten, with_kwargs=True)
    return Readout(model, "trained", 1, vocabulary * groups / size, groups, 1 - size / vocabulary)


def _keep_rows(model: nn.Module, size: int, seed: int, whole: torch.Tensor, batch: dict) -> bool:
    """Leave so many rows of a vocabulary in a model's head; tell whether that was right.

    It is not where the head is no linear layer, or where something follows that mixes logits.
    """
    head = model.get_output_embeddings()
    name = next((name for name, module in model.named_modules() if module is head), None)
    if name is None or type(head) is not nn.Linear:
        return False
    generator = generator_for(seed, "vocabulary")
    rows = torch.randperm(whole.shape[-1], generator=generator)[:size].to(head.weight.device)
    few = nn.Linear(head.in_features, size, bias=head.bias is not None, device="meta")
    few.weight = nn.Parameter(head.weight[rows].detach(), requires_grad=False)
    if head.bias is not None:
        few.bias = nn.Parameter(head.bias[rows].detach(), requires_grad=False)
    model.set_submodule(name, few)
    try:
        found, wanted = logits_of(model, batch), whole[..., rows]
        if (found - wanted).abs().max() <= rounding(model) * whole.abs().max():
            return True
    except torch.OutOfMemoryError:
        raise
    except Exception:  # of whatever follows a head and wants a whole vocabulary
        pass
    model.set_submodule(name, head)
    return False


class _SideBySide(nn.Module):
    """Layers of several draws at once: features come and go in groups, one a draw.

    What comes before the first random layer is the same for all draws. What stands between two
    layers, such as an activation, works on each feature alone.
    """

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return texts × (draws · features)."""
        first = self.layers[0]
        size = first.in_features if isinstance(first, nn.Linear) else len(first.weight)
        common = inputs.shape[-1] == size
        own = [inputs] * len(self.layers) if common else inputs.split(size, dim=-1)
        return torch.cat(
            [layer(group) for layer, group in zip(self.layers, own, strict=True)], dim=-1
        )
