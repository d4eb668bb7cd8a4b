"""The ways to adapt a model: LoRA with given ranks, EVA's start, AdaLoRA, the head alone, all."""

import warnings
from collections.abc import Sequence

import torch
from torch import nn
from transformers import TrainerCallback, set_seed

from adarank_core.errors import AdaRankError
from adarank_core.ranks.allocation import RankPlan
from adarank_core.ranks.verification import check_built_adapter
from adarank_core.scoring.heads import fresh_head, head_names, trained_names
from adarank_core.scoring.models import ModelBundle, adaptable_modules

__all__ = ["METHODS", "AdaLoraSteps", "adapted", "check_plan", "final_ranks", "lora_size"]

METHODS = ("lora", "eva", "adalora", "head-only", "full")
# AdaLoRA starts with 1.5 times the ranks, trains them all for a tenth of the steps, takes ranks
# away until three tenths are left, and trains what remains (Zhang et al., arXiv 2303.10512).
ADALORA_START = 1.5
ADALORA_WARM_UP = 0.1
ADALORA_FINAL = 0.3


def adapted(
    bundle: ModelBundle,
    plan: RankPlan | None,
    *,
    method: str = "lora",
    seed: int = 0,
    steps: int = 1,
    texts: Sequence[str] = (),
    max_length: int = 128,
) -> nn.Module:
    """Give a model the head of the seed, and what the method trains; the rest is frozen.

    Parameters
    ----------
    bundle : ModelBundle
        Its model is changed.
    plan : RankPlan or None
        None only for ``"head-only"`` and ``"full"``. AdaLoRA takes its modules and the average of
        their ranks.
    method : {"lora", "eva", "adalora", "head-only", "full"}
        ``"eva"`` is LoRA whose ``A`` starts from the singular vectors of its module's inputs.
    seed : int
        Draws the head and LoRA's ``A``.
    steps : int
        For AdaLoRA's schedule.
    texts : sequence of str
        For EVA's singular vectors.
    max_length : int
        EVA cuts longer texts to this many tokens.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    AdaRankError
        If the plan does not fit the model, or the method cannot adapt it.

    Examples
    --------
    >>> from adarank_core import load_model
    >>> model = adapted(load_model("embedded"), None, method="head-only")
    >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
    ['classifier.weight', 'classifier.bias']
    """
    if method not in METHODS:
        raise AdaRankError(f"the method is {method!r}; it must be one of {', '.join(METHODS)}")
    model = bundle.model
    for name, layer in fresh_head(bundle, seed).items():
        model.set_submodule(name, layer)
    if method in ("head-only", "full"):
        model.requires_grad_(method == "full")
        for name in trained_names(bundle) or head_names(model):
            model.get_submodule(name).requires_grad_(True)
        return model
    check_plan(bundle, plan)
    vectors = {}
    if method == "eva":
        from adarank_core.scoring.eva import input_directions

        vectors = input_directions(bundle, texts, max(plan.ranks.values()), max_length)
    config = _config(plan, method, steps, bundle.task_type)
    config.modules_to_save = trained_names(bundle)
    model = _with_lora(model, config, seed, vectors)
    if method != "adalora":  # which begins with more ranks, and moves them
        check_built_adapter(plan, model)
    return model


def _config(plan: RankPlan, method: str, steps: int, task_type: str):
    if method != "adalora":
        return plan.lora_config(task_type=task_type)
    from peft import AdaLoraConfig

    if steps < 2:
        raise AdaRankError(f"AdaLoRA takes ranks away on the way; {steps} step is too few, give 2")
    average = max(1, round(sum(plan.ranks.values()) / len(plan.ranks)))
    start = max(average + 1, round(ADALORA_START * average))
    return AdaLoraConfig(
        task_type=task_type,
        target_modules=[name for name, rank in plan.ranks.items() if rank > 0],
        target_r=average,
        init_r=start,
        lora_alpha=2 * start,  # PEFT divides it by init_r: the scaling that all arms have
        tinit=round(ADALORA_WARM_UP * steps),
        tfinal=min(round(ADALORA_FINAL * steps), steps - 2),
        total_step=steps,
    )


def _with_lora(model, config, seed: int, vectors: dict) -> nn.Module:
    from peft import get_peft_model

    set_seed(seed)  # for LoRA's A matrices; Trainer seeds again, so that dropout is the same
    try:
        with warnings.catch_warnings():  # PEFT asks for what transformers has renamed
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            model = get_peft_model(model, config)
    except ValueError as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise AdaRankError(f"PEFT cannot adapt this model so ({reason})") from None
    with torch.no_grad():
        for name, rows in vectors.items():
            layer = model.base_model.model.get_submodule(name)
            if hasattr(layer, "lora_A"):  # a module of rank 0 has none
                start = layer.lora_A["default"].weight
                start.copy_(rows[: len(start)])
    return model


def check_plan(bundle: ModelBundle, plan: RankPlan) -> None:
    """Raise `AdaRankError` unless the plan's modules are the model's and its ranks fit them."""
    known = {module.name: module for module in adaptable_modules(bundle.model)}
    for name, rank in plan.ranks.items():
        if name not in known:
            raise AdaRankError(
                f"the ranks name the module {name!r}, which is none that LoRA adapts in "
                f"{bundle.name!r}; use ranks made for this model (these are for {plan.model!r})"
            )
        most = min(known[name].in_features, known[name].out_features)
        if rank > most:
            raise AdaRankError(f"the rank of {name!r} is {rank}; it may be {most} at most")


class AdaLoraSteps(TrainerCallback):
    """Let AdaLoRA move its ranks after every optimizer step, which Trainer does not do itself."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        model.base_model.update_and_allocate(state.global_step + 1)


def final_ranks(model: nn.Module, plan: RankPlan | None) -> dict[str, int]:
    """Return the ranks that a trained model ended with: AdaLoRA's own, or the plan's.

    Examples
    --------
    >>> final_ranks(nn.Linear(2, 2), None)
    {}
    """
    ranks = _adalora_ranks(model)
    if ranks is None:
        return {} if plan is None else dict(plan.ranks)
    return {name: ranks.get(name, 0) for name in plan.ranks}


def lora_size(model: nn.Module) -> int:
    """Count the LoRA parameters of a trained model; of AdaLoRA those that are left at the end.

    Examples
    --------
    >>> lora_size(nn.Linear(2, 2))
    0
    """
    ranks = _adalora_ranks(model)
    if ranks is None:
        return sum(w.numel() for name, w in model.named_parameters() if ".lora_" in name)
    layers = {name: model.base_model.model.get_submodule(name) for name in ranks}
    # A column, a row and a singular value for each rank.
    return sum(
        rank * (layers[name].in_features + layers[name].out_features + 1)
        for name, rank in ranks.items()
    )


def _adalora_ranks(model) -> dict[str, int] | None:
    config = getattr(model, "peft_config", {}).get("default")
    pattern = getattr(config, "rank_pattern", None)
    if getattr(config, "peft_type", None) != "ADALORA" or pattern is None:
        return None
    # PEFT's keys are "<module>.lora_E.default", or without the adapter's name once saved.
    return {
        key.split(".lora_E")[0].split("base_model.model.")[-1]: sum(mask)
        for key, mask in pattern.items()
    }
