"""The ranks that EVA would give (Paischer et al., arXiv 2410.07170), worked out by PEFT itself."""

from collections.abc import Sequence
from itertools import count

import torch

from adarank_core.data.texts import Texts, as_texts
from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import encode
from adarank_core.scoring.heads import private_copy
from adarank_core.scoring.models import AdaptableModule, ModelBundle, adaptable_modules
from adarank_core.scoring.scores import ModuleScore, Scores, origin_of
from adarank_core.scoring.unscored import unscored_weights

__all__ = ["eva", "input_directions"]

# PEFT goes on until its singular vectors hold still; over one and the same batch that takes three
# passes, and it would go on for ever where they never do.
MOST_PASSES = 20


def eva(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    average_rank: int = 8,
    rho: float = 2.0,
    max_length: int = 128,
) -> Scores:
    """Score a module by the rank that EVA gives it at a budget. Needs no labels, nor a head.

    EVA takes the singular vectors of every module's inputs and spends the budget on those that
    explain the most of their module's variance. A score here is the number that a module got, so
    `allocate` gives EVA's very ranks back at the same ``average_rank`` with ``min_rank=0``; at any
    other budget its proportions. PEFT's own `peft.tuners.lora.eva.get_eva_state_dict` does the
    work, on a private copy and on real tokens alone. It gets all texts as one batch: of several
    small ones, its singular vectors did not settle in 60 rounds on MiniLM.

    Parameters
    ----------
    bundle : ModelBundle
    texts : Texts or sequence of str
    average_rank : int
        At least 1.
    rho : float
        At least 1. No module gets more than ``average_rank * rho``.
    max_length : int
        Longer texts are cut to this many tokens.

    Returns
    -------
    Scores
        Whole numbers, whose mean is ``average_rank``; ``mode`` is ``"eva"``.

    Raises
    ------
    AdaRankError
        If an option is out of range, if the texts have fewer tokens than a module could get ranks,
        if a module does not read the texts' tokens (DeBERTa's position projections), or if the
        singular vectors do not settle.

    Examples
    --------
    >>> from adarank_core import allocate, generic_texts, load_model
    >>> scores = eva(load_model("embedded"), generic_texts(), average_rank=4)
    >>> plan = allocate(scores, average_rank=4, min_rank=0)
    >>> [module.score for module in scores.modules] == list(plan.ranks.values())
    True
    """
    texts = as_texts(texts)
    vectors = input_directions(bundle, texts, average_rank, max_length, rho)
    scored = tuple(
        ModuleScore(**vars(module), score=float(len(vectors[module.name])), standard_error=0.0)
        for module in adaptable_modules(bundle.model)
    )
    origin = origin_of(texts)
    return Scores(
        *(bundle.name, "eva", "none", 0.0, 0, origin, scored),
        task_type=bundle.task_type,
        not_scored=unscored_weights(bundle.model),
    )


def input_directions(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    average_rank: int,
    max_length: int = 128,
    rho: float = 1.0,
) -> dict[str, torch.Tensor]:
    """Return the leading singular vectors of every module's inputs, as many as EVA gives it.

    With ``rho`` 1 that is ``average_rank`` each. EVA starts LoRA's ``A`` from them.

    Returns
    -------
    dict of str to torch.Tensor
        By module; number × in_features, the first explaining the most.

    Raises
    ------
    AdaRankError
        As `eva` does.

    Examples
    --------
    >>> from adarank_core import generic_texts, load_model
    >>> rows = input_directions(load_model("embedded"), generic_texts(), average_rank=4)
    >>> {tuple(of_module.shape) for of_module in rows.values()} == {(4, 384), (4, 1536)}
    True
    """
    from peft import EvaConfig, LoraConfig
    from peft.tuners.lora.eva import get_eva_state_dict

    texts = as_texts(texts)
    modules = adaptable_modules(bundle.model)
    most = _largest_rank(modules, average_rank, rho)
    [batch] = encode(bundle, texts, max_length, batch_size=len(texts))
    tokens = int(batch["attention_mask"].sum())
    if tokens < most:  # PEFT would never end
        raise AdaRankError(
            f"the texts have {tokens} tokens, but EVA needs {most}, average_rank times rho; "
            "give more text"
        )
    config = LoraConfig(
        r=average_rank,
        target_modules=[module.name for module in modules],
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=rho),
    )
    passes = count(1)

    def forward(model, batch):
        if next(passes) > MOST_PASSES:
            raise AdaRankError(
                f"EVA's singular vectors did not settle in {MOST_PASSES} passes; give more and "
                "longer texts, or a lower average_rank"
            )
        model(**batch)

    try:
        return get_eva_state_dict(
            private_copy(bundle.model),
            [batch],
            config,
            forward_fn=forward,
            prepare_model_inputs_fn=lambda batch, _config: batch["attention_mask"].bool(),
            prepare_layer_inputs_fn=_real_tokens,
            gather_distributed_inputs=False,
            show_progress_bar=False,
        )
    except (IndexError, torch.linalg.LinAlgError) as error:
        first = str(error).split("\n")[0]
        raise AdaRankError(
            f"EVA cannot work on {bundle.name!r}: each module has to read all tokens of the texts, "
            f"and its inputs have to be finite ({first})"
        ) from None


def _largest_rank(modules: Sequence[AdaptableModule], average_rank: int, rho: float) -> int:
    """Return the largest rank that a module could get, refusing what no module has room for."""
    if not isinstance(average_rank, int) or average_rank < 1:
        raise AdaRankError(f"average_rank is {average_rank!r}; EVA needs a whole number above 0")
    if not 1 <= rho < float("inf"):
        raise AdaRankError(f"rho is {rho}; it must be a number of 1 or more")
    narrow = min(modules, key=lambda module: module.in_features)
    most = round(average_rank * rho)
    if most > narrow.in_features:
        raise AdaRankError(
            f"a module could get rank {most}, average_rank times rho, but {narrow.name!r} has only "
            f"{narrow.in_features} inputs; lower one of them"
        )
    return most


def _real_tokens(inputs: tuple, mask: torch.Tensor, _name: str) -> torch.Tensor:
    """Return a module's inputs without padding; OPT's feed-forward gets all texts' in one row."""
    given = inputs[0]
    return given[mask.flatten()] if given.dim() == 2 else given[mask]
