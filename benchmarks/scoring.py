"""Measure scoring against the plain algorithm: time, precision, and the cost to equal precision.

Run it from the repository's root: ``python benchmarks/scoring.py --texts 16.txt …``. All figures
come from one run, medians of several; the machine's kind and versions are printed with them.

The plain algorithm is Algorithm 2 as one would first write it: two full forward passes a trial and
module over one batch padded to its longest text, float32, the noisy weight written into the module
and the old one restored. Both draw their noise for one and the same head, seed 0. Precision is
measured, not taken from error bars: every scorer is repeated with other noise, and the squared
relative standard error of a module is the variance of its scores over the repeats divided by the
square of their mean.
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import Texts, load_model, load_task, score, sentence
from adarank_core.models import adaptable_modules
from adarank_core.scoring import prepared

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
        _SameHead(bundle),
        Texts("list", tuple(texts)),
        trials=trials,
        seed=seed,
        precision=precision,
    )
    return np.array([module.score for module in found.modules])


class _SameHead:
    """A bundle whose model keeps its head whatever the seed: noise is all that varies."""

    def __init__(self, bundle):
        self.tokenizer, self.name = bundle.tokenizer, bundle.name
        # fresh_head() leaves models of other names alone.
        kind = type(bundle.model)
        own = prepared(bundle, seed=0)
        own.__class__ = type("KeptHead", (kind,), {})
        self.model = own


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


def measure(bundle, name, texts, trials, repeats):
    """Return the rows of one kind of work, each against the plain algorithm."""
    plain = copy.deepcopy(prepared(bundle, seed=0))  # the plain algorithm writes weights
    base = cost(lambda seed: plain_scores(plain, bundle.tokenizer, texts, 5, seed), repeats)
    rows = [
        {
            "work": name,
            "scorer": "plain, float32",
            "trials": 5,
            "seconds": base[0],
            "error": base[1] ** 0.5,
            "gain": 1.0,
        }
    ]
    for precision in ("float32", "bfloat16"):
        found = cost(
            lambda seed, precision=precision: fast_scores(bundle, texts, trials, seed, precision),
            4 * repeats,
        )
        rows.append(
            {
                "work": name,
                "scorer": f"fast, {precision}",
                "trials": trials,
                "seconds": found[0],
                "error": found[1] ** 0.5,
                "gain": base[0] * base[1] / (found[0] * found[1]),
            }
        )
    return rows


def main() -> None:
    """Measure, print Markdown, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", help="a task or file: 16 of its texts are one kind of work")
    parser.add_argument("--long-task", help="a task or file: 64 of its texts are another")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = load_model("embedded")
    work = [("one sentence", sentence(SENTENCE).items, 2 * arguments.trials)]
    for task, count in ((arguments.task, 16), (arguments.long_task, 64)):
        if task:
            texts = load_task(task).sample_texts(count, seed=0).items
            work.append((f"{count} texts of {Path(task).name}", texts, arguments.trials))
    about = {
        "cores": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    print(f"{about}\n")
    print("| work | scorer | trials | seconds | relative error | gain at equal precision |")
    print("|---|---|---|---|---|---|", flush=True)
    rows = []
    for name, texts, trials in work:
        for row in measure(bundle, name, texts, trials, arguments.repeats):
            rows.append(row)
            print(
                f"| {row['work']} | {row['scorer']} | {row['trials']} | {row['seconds']:.2f} | "
                f"{row['error']:.1%} | {row['gain']:.1f}× |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
