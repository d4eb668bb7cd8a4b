"""Study: does it matter what noise, and how much of it?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.lab.agreement import agreement
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study
from adarank_core.numerals import with_error
from adarank_core.scoring.options import ScoringOptions

if TYPE_CHECKING:  # importing it takes seconds
    from adarank_core.scoring.models import ModelBundle

__all__ = ["STUDY", "linearised_scores"]

LINEARISED, USUAL = "linearised", ("gaussian", 1.0)
#: A response that departs from the linear one by more is no longer called linear.
DEPARTURE = 0.1
PRECISION = "float32"  # of small noise bfloat16 would keep nothing


def _units(bench: Bench) -> list[dict]:
    settings = bench.settings
    for kind in settings["kinds"]:
        ScoringOptions(noise=kind)
    if USUAL[0] not in settings["kinds"] or USUAL[1] not in settings["scales"]:
        raise AdaRankError(
            "all noise is held against 'gaussian' of scale 1; leave 'gaussian' among the kinds "
            "and 1 among the scales"
        )
    if settings["repeats"] < 2:
        raise AdaRankError("repeats is 1; to tell noise from draws takes at least 2")
    bench.draws(settings["texts"], settings["repeats"])
    if bench.bundle.task_type != "SEQ_CLS":
        raise AdaRankError(
            f"the study 'noise' needs a classifier's few logits, but {bench.request.model!r} is "
            "loaded as a language model; give a task with labels"
        )
    cells = [(kind, scale) for kind in settings["kinds"] for scale in settings["scales"]]
    return [
        {"kind": kind, "scale": scale, "repeat": repeat}
        for repeat in range(settings["repeats"])
        for kind, scale in [(LINEARISED, 0.0), *cells]
    ]


def _measure(bench: Bench, unit: dict) -> Iterator[float]:
    settings, seed = bench.settings, bench.seed + unit["repeat"]
    texts = bench.draws(settings["texts"], settings["repeats"])[unit["repeat"]]
    if unit["kind"] == LINEARISED:
        yield 0.0
        return linearised_scores(bench.bundle, texts, settings["heads"], seed)
    options = {"noise": unit["kind"], "noise_scale": unit["scale"], "precision": PRECISION}
    scores = yield from bench.score(texts, seed=seed, trials=settings["trials"], **options)
    return {"scores": {module.name: module.score for module in scores.modules}}


def linearised_scores(bundle: "ModelBundle", texts: Texts, heads: int = 4, seed: int = 0) -> dict:
    """Return what disagreement over the noise's scale tends to as the scale goes to 0.

    With ``G`` a logit's gradient at the module's output and ``X X^T = L L^T`` of its inputs, small
    noise of deviation ``s`` moves the logit by a normal number of deviation ``s |L^T G|``, and two
    of them differ by ``2 / sqrt(pi)`` times that on average.

    Parameters
    ----------
    bundle : ModelBundle
        A classifier.
    texts : Texts
    heads : int
        Random heads that it is the mean over; one where the head is trained.
    seed : int
        Of the first of them.

    Returns
    -------
    dict
        ``scores``: by module, in units of relative noise; ``deviations``: of the weights. Modules
        that run more than once a pass, or outputs that do not go by text, are left out.

    Examples
    --------
    >>> from adarank_core import load_model, sentence
    >>> found = linearised_scores(load_model("embedded"), sentence("What is a rank?"), heads=1)
    >>> len(found["scores"]), min(found["scores"].values()) > 0
    (36, True)
    """
    from adarank_core.scoring.encoding import encode, logits_of
    from adarank_core.scoring.gradients import linear_response, output_gradients
    from adarank_core.scoring.heads import fresh_head, prepared
    from adarank_core.scoring.models import adaptable_modules
    from adarank_core.scoring.noise import input_factor, module_noise

    names = [module.name for module in adaptable_modules(bundle.model)]
    layers = {name: bundle.model.get_submodule(name) for name in names}
    dtype = bundle.model.dtype
    deviations = {
        name: module_noise(layer, ScoringOptions(), dtype).deviation
        for name, layer in layers.items()
    }
    heads = heads if fresh_head(bundle, seed) else 1
    sums: dict[str, float] = {}
    for head in range(heads):
        model = prepared(bundle, seed + head)
        for batch in encode(bundle, texts):
            with _inputs_of(model, names) as inputs:
                gradients = output_gradients(model, batch, names, logits_of)
            for name, gradient in gradients.items():
                factor = input_factor(inputs[name], batch["attention_mask"])
                _, expected = linear_response(gradient, gradient[:, :1], factor)
                moved = float(expected.sum()) * deviations[name]
                sums[name] = sums.get(name, 0.0) + moved
    scores = {name: total / heads / len(texts) for name, total in sums.items()}
    return {"scores": scores, "deviations": deviations}


class _inputs_of:
    """Keep what goes into modules, by their names, while a model runs."""

    def __init__(self, model, names: list[str]):
        self.model, self.names, self.handles = model, names, []

    def __enter__(self) -> dict:
        inputs: dict = {}
        for name in self.names:

            def keep(_module, args, name=name):
                inputs[name] = args[0].detach()

            layer = self.model.get_submodule(name)
            self.handles.append(layer.register_forward_pre_hook(keep))
        return inputs

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


def _rows(measured: list[dict], settings: dict) -> list[dict]:
    cells: dict[tuple, list[dict]] = {}
    for one in measured:
        cells.setdefault((one["kind"], one["scale"]), []).append(one)
    linear = cells.pop((LINEARISED, 0.0), [])
    usual = cells.get(USUAL, [])
    rows = []
    for (kind, scale), found in cells.items():
        repeats = min(map(len, (found, linear, usual)))
        row = {"kind": kind, "scale": scale, "repeats": repeats}
        row |= _agreement("spearman_usual", found[:repeats], usual[:repeats])
        row |= _agreement("spearman_linearised", found[:repeats], linear[:repeats])
        rows.append({**row, **_response(kind, scale, found[:repeats], linear[:repeats])})
    return rows


def _agreement(key: str, first: list[dict], second: list[dict]) -> dict:
    """Say how two kinds of noise agree on the modules that both know."""
    mean = error = None
    if len(first) > 1:
        names = [name for name in first[0]["scores"] if name in second[0]["scores"]]
        tables = [[[one["scores"][n] for n in names] for one in side] for side in (first, second)]
        mean, error = agreement(*tables) if len(names) > 1 else (None, None)
    return {key: mean, f"{key}_error": error}


def _response(kind: str, scale: float, found: list[dict], linear: list[dict]) -> dict:
    """Say how far scores are from the linear model's: 1 where noise is small.

    The median over modules, then the mean over repeats.
    """
    ratios = []
    for one, small in zip(found, linear, strict=True):
        of_modules = []
        for name, value in small["scores"].items():
            unit = small["deviations"][name] if "absolute" in kind.split(",") else 1.0
            if value > 0 and unit > 0:
                of_modules.append(one["scores"][name] / scale * unit / value)
        if of_modules:
            ratios.append(float(np.median(of_modules)))
    if not ratios:
        return {"response": None, "response_error": None, "linear": None}
    mean = float(np.mean(ratios))
    error = float(np.std(ratios, ddof=1) / len(ratios) ** 0.5) if len(ratios) > 1 else None
    return {"response": mean, "response_error": error, "linear": abs(mean - 1) <= DEPARTURE}


def _answer(rows: list[dict]) -> str:
    gaussian = _gaussian(rows)
    if _usual(gaussian) is None:
        return "Nothing can be told: all modules score the same."
    return f"{_end_of_linearity(gaussian)}."


def _details(rows: list[dict]) -> str:
    usual = _usual(_gaussian(rows))
    if usual is None:
        return ""
    told = "At scale 1 the order of modules agrees with the linearised one by Spearman "
    told += f"{_figure(usual, 'spearman_linearised')}, and with itself on other draws by "
    told += f"{_figure(usual, 'spearman_usual')}."
    others = [row for row in rows if row["scale"] == USUAL[1] and row["kind"] != USUAL[0]]
    named = ", ".join(f"{r['kind']} by {_figure(r, 'spearman_usual')}" for r in others)
    return f"{told} Other noise of scale 1 agrees with it: {named}." if named else told


def _gaussian(rows: list[dict]) -> list[dict]:
    """Return the rows of Gaussian noise, the smallest scale first."""
    return sorted((r for r in rows if r["kind"] == USUAL[0]), key=lambda row: row["scale"])


def _usual(gaussian: list[dict]) -> dict | None:
    """Return the row of the usual noise; None where a value of it is not known."""
    row = next(row for row in gaussian if row["scale"] == USUAL[1])
    known = (row["spearman_usual"], row["spearman_linearised"], row["response"])
    return None if None in known else row


def _end_of_linearity(gaussian: list[dict]) -> str:
    """Say between which scales Gaussian noise stops acting in proportion."""
    last = None
    for row in gaussian:
        if not row["linear"]:
            break
        last = row
    if last is None:
        first = gaussian[0]
        return (
            f"Even noise of {first['scale']:g} of a weight's deviation does not act in "
            f"proportion (response {first['response']:.2f} of the linear one)"
        )
    if last is gaussian[-1]:
        return f"Up to scale {last['scale']:g} noise acts in proportion to its size"
    beyond = gaussian[gaussian.index(last) + 1]
    return (
        f"Noise acts in proportion up to scale {last['scale']:g} (response {last['response']:.2f} "
        f"of the linear one) and no longer at {beyond['scale']:g} ({beyond['response']:.2f})"
    )


def _figure(row: dict, key: str) -> str:
    return "an unknown amount" if row[key] is None else with_error(row[key], row[f"{key}_error"], 1)


STUDY = Study(
    name="noise",
    question="Does it matter which noise is put on a module, and how much of it?",
    defaults={
        "kinds": ["gaussian", "uniform", "absolute", "rank-8"],
        "scales": [0.001, 0.01, 0.1, 1.0, 10.0],
        "texts": 4,
        "trials": 4,
        "heads": 4,
        "repeats": 3,
    },
    units=_units,
    measure=_measure,
    rows=_rows,
    answer=_answer,
    details=_details,
)
