"""The published notebook's way of scoring, kept for its figures and for teaching."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch

from adarank_core.errors import AdaRankError
from adarank_core.scoring.error_bars import mean_and_error
from adarank_core.scoring.estimators import Step, module_score
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import AdaptableModule, ModelBundle
from adarank_core.scoring.noise import add_to_output, generator_for, weight_noise
from adarank_core.scoring.options import ScoringOptions

__all__ = ["notebook"]


def notebook(
    bundle: ModelBundle,
    chosen: Sequence[AdaptableModule],
    batches: list[dict],
    options: ScoringOptions,
) -> Iterator[Step]:
    """Score as the published notebook does: a noisy model's pooled output against the clean one's.

    The score is the mean of ``|difference|`` over texts and features, one noise a trial. In mode
    ``"notebook-accumulating"`` nothing is reset, as published: noise stays from trial to trial and
    from layer to layer of one family, so that modules scanned later score higher.

    Parameters
    ----------
    bundle, chosen, batches, options
        As in `paired`; ``options.scan`` is the order in which a family's layers are scanned.

    Returns
    -------
    iterator of Step

    Raises
    ------
    AdaRankError
        If the model has no pooler (at once).
    """
    model = prepared(bundle, options.seed)
    if getattr(model.base_model, "pooler", None) is None:
        raise AdaRankError(
            f"mode is {options.mode!r}, which reads the pooled output, but {bundle.name!r} has no "
            "pooler; use mode 'paper'"
        )
    return _scanned(model, chosen, batches, options)


def _scanned(model, chosen, batches, options) -> Iterator[Step]:
    def pooled():
        with torch.inference_mode():
            outputs = [model.base_model(**batch).pooler_output for batch in batches]
        return torch.cat(outputs).double()

    clean, results = pooled(), {}
    families = list(dict.fromkeys(module.family for module in chosen))
    for family in families:
        kept: dict[str, torch.Tensor] = {}
        members = [module for module in chosen if module.family == family]
        for module in members if options.scan == "forward" else reversed(members):
            layer = model.get_submodule(module.name)
            distances = []
            for trial in range(options.trials):
                generator = generator_for(options.seed, module.name, trial)
                noise = weight_noise(layer.weight, options.noise_scale, generator)
                if options.mode == "notebook-accumulating":
                    kept[module.name] = noise = kept.get(module.name, 0) + noise
                added = {**kept, module.name: noise}
                with ExitStack() as stack:
                    for name, of_module in added.items():
                        place = model.get_submodule(name)
                        stack.enter_context(add_to_output(place, of_module))
                    distances.append((pooled() - clean).abs().mean(dim=1).cpu().numpy())
            results[module.name] = module_score(module, *mean_and_error(np.stack(distances)))
            in_order = tuple(results[m.name] for m in chosen if m.name in results)
            yield Step(len(results), len(chosen), in_order, options.trials)
