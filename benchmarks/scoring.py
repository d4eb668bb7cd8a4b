"""Measure scoring against the plain algorithm: time, precision, and the cost to equal precision.

Run it from the repository's root, with names or folders of tasks:
``python benchmarks/scoring.py --task TREC --long-task AG_NEWS --ablation``. All figures come from
one run on a machine that does nothing else; seconds are medians, and the machine's kind and
versions are printed with them.

The plain algorithm is Algorithm 2 as one would first write it: two full forward passes a trial and
module over one batch padded to its longest text, float32, the noisy weight written into the module
and the old one restored. Both draw their noise for one and the same head, seed 0. Precision is
measured, not taken from error bars: every scorer is repeated with other noise, and the squared
relative standard error of a module is the variance of its scores over the repeats divided by the
square of their mean; the median over modules counts. Time times that does not depend on the number
of trials of the plain algorithm, so it gets fewer where it takes long.

``--ablation`` takes one lever at a time away from the fast estimator, on the texts of ``--task``.
"""

import argparse
import contextlib
import copy
import json
import platform
import statistics
import sys
import time
import unittest.mock
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import Texts, load_model, load_task, score, sentence
from adarank_core.hardware import bf16_is_native
from adarank_core.scoring import estimators, partial_forward
from adarank_core.scoring.heads import prepared
from adarank_core.scoring.models import ModelBundle, adaptable_modules

SENTENCE = "Which layers of a language model matter most when it learns a new task?"


def plain_scores(model, tokenizer, texts, trials, seed):
    """Score every module the plain way; ``model`` is in float32 and has its head."""
    batch = tokenizer(
        list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt"
    )
    generator = torch.Generator().manual_seed(seed)
    scores = []
    with torch.no_grad():
        for module in adaptable_modules(model):
            weight = model.get_submodule(module.name).weight
            clean, deviation, total = weight.clone(), weight.std(), 0.0
            for _ in range(trials):
                logits = []
                for _ in range(2):
                    noise = torch.randn(weight.shape, generator=generator)
                    weight.copy_(clean + deviation * noise)
                    logits.append(model(**batch).logits)
                total += float((logits[0] - logits[1]).abs().sum(dim=1).mean())
            weight.copy_(clean)
            scores.append(total / trials)
    return np.array(scores)


def fast_scores(bundle, texts, trials, seed, precision):
    """Score every module with the fast estimator, other noise for every seed, one head."""
    found = score(
        with_one_head(bundle),
        Texts("list", tuple(texts)),
        trials=trials,
        seed=seed,
        precision=precision,
    )
    return np.array([module.score for module in found.modules])


def with_one_head(bundle):
    """Return a bundle whose model keeps its head whatever the seed: noise is all that varies."""
    model = prepared(bundle, seed=0)
    # fresh_head() leaves models of other names alone.
    model.__class__ = type("KeptHead", (type(bundle.model),), {})
    return ModelBundle(model, bundle.tokenizer, bundle.name)


def cost(scorer, repeats):
    """Return (median seconds, median squared relative standard error) of one scoring."""
    seconds, found = [], []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        result = scorer(repeat)
        if repeat:  # the first warms up
            seconds.append(time.perf_counter() - started)
            found.append(result)
    found = np.stack(found)
    relative = found.var(axis=0, ddof=1) / found.mean(axis=0) ** 2
    return statistics.median(seconds), float(np.median(relative))


def measure(bundle, name, texts, plain_trials, repeats, precisions):
    """Yield the rows of one kind of work, the plain algorithm's first."""
    plain = copy.deepcopy(prepared(bundle, seed=0))  # the plain algorithm writes weights

    def by_hand(seed):
        return plain_scores(plain, bundle.tokenizer, texts, plain_trials, seed)

    base = cost(by_hand, repeats)
    yield row(name, "plain, float32", plain_trials, base, base)
    trials = default_trials(texts)
    for precision in precisions:

        def fast(seed, precision=precision):
            return fast_scores(bundle, texts, trials, seed, precision)

        yield row(name, f"fast, {precision}", trials, cost(fast, repeats), base)


def default_trials(texts):
    """Return what `score` takes where nothing is said."""
    return max(8, min(32, 128 // len(texts)))


def row(work, scorer, trials, found, base):
    """Return one row of the table."""
    return {
        "work": work,
        "scorer": scorer,
        "trials": trials,
        "seconds": found[0],
        "error": found[1] ** 0.5,
        "gain": base[0] * base[1] / (found[0] * found[1]),
    }


def disjoint_pairs(logits, *_control):
    """Compare each noisy instance with one other only."""
    distances = (logits[:, ::2] - logits[:, 1::2]).abs().sum(dim=2).double()
    return distances.mean(dim=1).numpy(), (distances.var(dim=1) / distances.shape[1]).numpy()


# What each lever is replaced by.
LEVERS = {
    "nothing": [],
    "bfloat16": [],
    "control by the linear response": [(estimators, "linear_response", lambda *_: ())],
    "all pairs": [(estimators, "all_pairs", disjoint_pairs)],
    "blocks before the noise skipped": [
        (partial_forward.Recording, "earlier_blocks", lambda *_: {}),
    ],
    "start inside the block": [(partial_forward.Recording, "finished_inside", lambda *_: {})],
    "only tokens that count": [(partial_forward, "tokens_that_count", lambda *_: {})],
    "one pass for a block's modules": [(estimators, "block_of", lambda name: name)],
}


def ablation(bundle, texts, repeats):
    """Yield time and precision without each lever."""
    trials, whole = default_trials(texts), None
    for lever, patches in LEVERS.items():
        precision = "float32" if lever == "bfloat16" else "bfloat16"
        with contextlib.ExitStack() as stack:
            for where, name, other in patches:
                stack.enter_context(unittest.mock.patch.object(where, name, other))
            found = cost(
                lambda seed, precision=precision: fast_scores(
                    bundle, texts, trials, seed, precision
                ),
                repeats,
            )
        whole = whole or found
        yield row(f"without {lever}", "fast", trials, found, whole)


def main() -> None:
    """Measure, print Markdown, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", help="a task or file: 16 of its texts are one kind of work")
    parser.add_argument("--long-task", help="a task or file: 64 of its texts are another")
    parser.add_argument("--ablation", action="store_true", help="one lever away at a time")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = load_model("embedded")
    both = ("float32", "bfloat16")
    work = [("one sentence", sentence(SENTENCE).items, 5, both)]
    for task, count, plain_trials, precisions in (
        (arguments.task, 16, 2, both),
        (arguments.long_task, 64, 1, ("bfloat16",)),
    ):
        if task:
            texts = load_task(task).sample_texts(count, seed=0).items
            work.append((f"{count} texts of {Path(task).name}", texts, plain_trials, precisions))
    about = {
        "cores": torch.get_num_threads(),
        "processor": platform.machine(),
        "bfloat16 is native": bf16_is_native(),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    print(f"{about}\n")
    print("| work | scorer | trials | seconds | relative error | gain at equal precision |")
    print("|---|---|---|---|---|---|", flush=True)
    rows = []

    def show(found):
        rows.append(found)
        print(
            f"| {found['work']} | {found['scorer']} | {found['trials']} | {found['seconds']:.2f} | "
            f"{found['error']:.1%} | {found['gain']:.2f}× |",
            flush=True,
        )

    for name, texts, plain_trials, precisions in work:
        for found in measure(bundle, name, texts, plain_trials, arguments.repeats, precisions):
            show(found)
    if arguments.ablation:
        for found in ablation(bundle, work[min(1, len(work) - 1)][1], arguments.repeats):
            show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
