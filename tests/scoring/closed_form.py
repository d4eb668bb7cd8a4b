"""What disagreement tends to as the noise gets small, worked out from gradients."""

import copy
import math

import numpy as np
import torch

from adarank_core.data.texts import as_texts
from adarank_core.scoring.encoding import encode, logits_of
from adarank_core.scoring.heads import fresh_head
from adarank_core.scoring.models import ModelBundle, adaptable_modules


def with_head(bundle: ModelBundle, seed: int):
    """Copy a model and give it the seed's head."""
    model = copy.deepcopy(bundle.model).eval()
    for name, layer in fresh_head(bundle, seed).items():
        model.set_submodule(name, layer)
    return model


def small_noise_scores(bundle: ModelBundle, texts, seed: int = 0) -> np.ndarray:
    """Return ``d_m / noise_scale`` for noise towards 0, in the order of the modules.

    With ``G`` the gradient of a logit for one text, small noise ``E`` moves the logit by
    ``<G, E>``, normal with deviation ``s |G|``, ``s = noise_scale * std(W)``. Two such logits
    differ by ``2 s |G| / sqrt(pi)`` on average, so that ``d_m / noise_scale`` tends to the mean
    over texts of the sum over logits of ``2 std(W) |G| / sqrt(pi)``.
    """
    model = with_head(bundle, seed)
    weights = [model.get_submodule(m.name).weight for m in adaptable_modules(model)]
    norms = np.zeros(len(weights))
    for text in texts:
        [batch] = encode(bundle, as_texts([text]))
        for logit in logits_of(model, batch)[0]:
            gradients = torch.autograd.grad(logit, weights, retain_graph=True)
            norms += [float(gradient.norm()) for gradient in gradients]
    deviations = [float(weight.detach().std()) for weight in weights]
    return 2 / math.sqrt(math.pi) * norms * deviations / len(texts)
