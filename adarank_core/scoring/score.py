"""Algorithm 2 of the paper: how far apart two noisy models' logits are, module by module."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from adarank_core.data.texts import Texts, as_texts
from adarank_core.errors import AdaRankError
from adarank_core.hardware import is_out_of_memory
from adarank_core.patterns import matching_names
from adarank_core.scoring.encoding import encode, lengths_of
from adarank_core.scoring.estimators import Step, computes_in_bfloat16, fast, paired
from adarank_core.scoring.model_checks import check_no_adapter
from adarank_core.scoring.models import (
    AdaptableModule,
    ModelBundle,
    adaptable_modules,
)
from adarank_core.scoring.notebook import notebook
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.scores import Scores, origin_of
from adarank_core.scoring.unscored import unscored_weights

# Weights that may be kept in bfloat16 as well: of a larger model in float32 no copy is made.
MOST_CAST = 2**28

__all__ = [
    "ScoringProgress",
    "matching",
    "score",
    "score_iter",
    "steps_of",
]


@dataclass(frozen=True)
class ScoringProgress:
    """How far scoring has come.

    Parameters
    ----------
    done, total : int
        Steps taken so far, and in all; a step is one module on one batch of texts.
    scores : Scores
        Of the modules scored so far; the last one yielded is the result.
    """

    done: int
    total: int
    scores: Scores


def score(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    options: ScoringOptions | None = None,
    **changes,
) -> Scores:
    """Score every adaptable module of a model; see `score_iter`.

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
    *_, last = score_iter(bundle, texts, options, **changes)
    return last.scores


def score_iter(
    bundle: ModelBundle,
    texts: Texts | Sequence[str],
    options: ScoringOptions | None = None,
    **changes,
) -> Iterator[ScoringProgress]:
    """Score a model's modules one after another, yielding after each step.

    Algorithm 2 of the paper: ``d_m = E over E1, E2 of mean over x of
    ||f(x; W + E1) - f(x; W + E2)||_1``, with ``f`` the logits, all other weights frozen and
    ``E1``, ``E2`` independent Gaussian noise of standard deviation ``noise_scale * std(W)``.

    Parameters
    ----------
    bundle : ModelBundle
        Never written; the generator can be closed at any point.
    texts : Texts or sequence of str
    options : ScoringOptions, optional
    **changes
        Fields of `ScoringOptions`, which then count in place of those of ``options``.

    Returns
    -------
    iterator of ScoringProgress

    Raises
    ------
    AdaRankError
        On bad options (at once), or if the logits are not finite or memory runs out (while
        scoring).

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> steps = score_iter(load_model("embedded"), sentence("What is a rank?"), trials=2)
    >>> next(steps).done
    1
    >>> steps.close()
    """
    options = replace(options or ScoringOptions(), **changes)
    texts = as_texts(texts)
    steps, options = steps_of(bundle, texts, options)
    return _with_scores(steps, bundle, texts, options)


def steps_of(
    bundle: ModelBundle, texts: Texts, options: ScoringOptions
) -> tuple[Iterator[Step], ScoringOptions]:
    """Return the estimator's steps, and the options with each default decided.

    Raises
    ------
    AdaRankError
        As `score_iter` does.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> steps, options = steps_of(load_model("embedded"), sentence("A rank."), ScoringOptions())
    >>> next(steps).measured.pairs.shape, options.trials
    ((1, 120), 16)
    >>> steps.close()
    """
    automatic = options.precision == "auto"
    options = options.resolved(len(texts), bundle.task_type, bundle.model.device)
    if options.logits == "all" and bundle.task_type == "SEQ_CLS":
        raise AdaRankError(
            f"logits is 'all', but {bundle.name!r} has a classification head, which gives each "
            "text one row of them; use 'last', or the head 'causal'"
        )
    check_no_adapter(bundle)
    chosen = matching(adaptable_modules(bundle.model), options.modules)
    order = list(range(len(texts)))
    if options.estimator == "fast":
        lengths = lengths_of(bundle, texts, options.max_length)
        order.sort(key=lengths.__getitem__)
        texts_read = replace(texts, items=tuple(texts.items[at] for at in order))
        batches = encode(bundle, texts_read, options.max_length)
        if automatic and options.precision == "bfloat16":
            size = sum(module.in_features * module.out_features for module in chosen)
            if size > MOST_CAST or not computes_in_bfloat16(bundle, batches[0]):
                options = replace(options, precision="float32")
        steps = fast(bundle, chosen, batches, order, options, texts.sampled)
    else:
        batches = encode(bundle, texts, options.max_length)
        if options.mode == "paper":
            steps = paired(bundle, chosen, batches, order, options, texts.sampled)
        else:
            steps = notebook(bundle, chosen, batches, options)
    return steps, options


def _with_scores(
    steps: Iterator[Step], bundle: ModelBundle, texts: Texts, options: ScoringOptions
) -> Iterator[ScoringProgress]:
    """Say with every step where its scores come from, and in a sentence that memory ran out."""
    origin, not_scored = origin_of(texts), unscored_weights(bundle.model)
    with closing(steps), _memory_runs_out(options):
        for step in steps:
            scores = Scores(
                model=bundle.name,
                mode=options.mode,
                estimator=options.estimator,
                noise_scale=float(options.noise_scale),
                seed=options.seed,
                texts=origin,
                modules=step.modules,
                trials=step.trials,
                logits=options.logits,
                task_type=bundle.task_type,
                head_draw=step.head_draw,
                noise=options.noise,
                not_scored=not_scored,
            )
            yield ScoringProgress(step.done, step.total, scores)


@contextmanager
def _memory_runs_out(options: ScoringOptions) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fewer = f"fewer trials than {options.trials}, " if (options.trials or 0) > 2 else ""
        raise AdaRankError(
            f"memory ran out while scoring texts of up to {options.max_length} tokens; give "
            f"{fewer}a smaller max_length, or dtype 'bfloat16'"
        ) from None


def matching(modules: Sequence[AdaptableModule], pattern: str | None) -> list[AdaptableModule]:
    """Return the modules whose full name a regular expression matches somewhere, or all.

    Raises
    ------
    AdaRankError
        If the pattern is no regular expression, or matches no module.

    Examples
    --------
    >>> query, value = (AdaptableModule(name, 0, name, 8, 8) for name in ("query", "value"))
    >>> [module.name for module in matching([query, value], "^v")]
    ['value']
    """
    if pattern is None:
        return list(modules)
    found = set(matching_names(pattern, [module.name for module in modules], "modules"))
    chosen = [module for module in modules if module.name in found]
    if not chosen:
        raise AdaRankError(
            f"modules is {pattern!r}, which matches none of the {len(modules)} modules; "
            f"one of them is {modules[0].name!r}"
        )
    return chosen
