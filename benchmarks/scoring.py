"""Measure scoring against the plain algorithm: time, precision, and the cost to equal precision.

Run it from the repository's root, with names or folders of tasks:
``python benchmarks/scoring.py --long-task ag_news --ranks --ablation``. All figures come from one
run on a machine that does nothing else; its kind and the versions are printed with them.

The plain algorithm is Algorithm 2 as one would first write it: two full forward passes a pair and
module over one batch padded to its longest text, float32, the noisy weight written into the module
and the old one restored, the L1 distance of the logits of a head drawn from the seed. It takes 5
pairs, the paper's default (``--plain-trials``); with more of them its noise would shrink but not
its head's share, with fewer the other way round, so that the number is part of what is measured.
The fast one is `adarank_core.score` with its defaults and the seed, nothing else.

Precision is measured, not taken from error bars. Every scoring has a seed of its own, and with it
its own noise and its own head. The squared relative spread of a module is the variance of its
scores over seeds divided by the square of their mean; the median over modules counts. The cost to
equal precision is the median seconds times that, and the gain is the plain algorithm's cost over
the fast one's. Its interval is what drawing the seeds again (a bootstrap) gives in nine of ten
cases. The median ratio of the scores' means to the plain ones tells that both estimate the same.
The scorers take turns, so that a machine that slows down slows all of them.

``--ranks`` adds the smallest number of instances whose ranks agree between disjoint draws of 16
texts of ``--task``, and the seconds of one scoring with it (as `benchmarks/eva.py` measures it,
which holds them against EVA's). ``--ablation`` takes one lever at a time away from the fast
estimator, on the 16 held sentences: with the expected head, with a head that counts as trained
(which alone has a linear response to be controlled by), and for all tokens of a small language
model's texts, made from a configuration.
"""

import argparse
import contextlib
import copy
import json
import statistics
import sys
import time
import unittest.mock
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import ModelBundle, Texts, generic_texts, load_model, load_task, score, sentence
from adarank_core.scoring import estimators, partial_forward
from adarank_core.scoring.models import adaptable_modules
from benchmarks.eva import our_rows
from benchmarks.machine import about

SENTENCE = "Which layers of a language model matter most when it learns a new task?"
HELD = Texts("held", generic_texts().items)
SETTLED = 0.99  # Spearman's correlation of ranks
HEAD = (
    "| work | scorer | trials | seconds | relative spread over seeds | mean over plain's | "
    "gain at equal precision (90% interval) |\n|---|---|---|---|---|---|---|"
)


class Runs(NamedTuple):
    """What scorings with many seeds took and gave.

    Parameters
    ----------
    trials : int
        Pairs or instances of one scoring.
    seconds : numpy.ndarray
        seeds
    scores : numpy.ndarray
        seeds × modules
    """

    trials: int
    seconds: np.ndarray
    scores: np.ndarray

    def squared_spread(self):
        """Return the squared relative spread over seeds, the median over modules."""
        means = self.scores.mean(axis=0)
        return float(np.median(self.scores.var(axis=0, ddof=1) / means**2))

    def cost(self):
        """Return the median seconds times the squared relative spread."""
        return float(np.median(self.seconds)) * self.squared_spread()

    def of(self, chosen):
        """Return the runs of some seeds alone."""
        return Runs(self.trials, self.seconds[chosen], self.scores[chosen])


def plain_scores(bundle, texts, trials, seed):
    """Score every module the plain way; writes into the bundle's model, so give it a copy."""
    model, generator = bundle.model, torch.Generator(bundle.model.device).manual_seed(seed)
    batch = bundle.tokenizer(
        list(texts.items), padding=True, truncation=True, max_length=128, return_tensors="pt"
    ).to(model.device)
    scores = []
    with torch.no_grad():
        head = model.classifier
        head.weight.normal_(0, model.config.initializer_range, generator=generator)
        head.bias.zero_()
        for module in adaptable_modules(model):
            weight = model.get_submodule(module.name).weight
            clean, deviation, total = weight.clone(), weight.std(), 0.0
            for _ in range(trials):
                logits = []
                for _ in range(2):
                    noise = torch.empty_like(weight).normal_(generator=generator)
                    weight.copy_(clean + deviation * noise)
                    logits.append(model(**batch).logits)
                total += float((logits[0] - logits[1]).abs().sum(dim=1).mean())
            weight.copy_(clean)
            scores.append(total / trials)
    return trials, scores


def fast_scores(bundle, texts, seed, **options):
    """Score every module with the defaults, but for the options."""
    found = score(bundle, texts, seed=seed, **options)
    return found.trials, [module.score for module in found.modules]


def measured(scorers, seeds):
    """Return the `Runs` of each scorer, by its name; they take turns, seed by seed."""
    seconds = {name: [] for name in scorers}
    scores, trials = {name: [] for name in scorers}, {}
    for seed in range(seeds):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            trials[name], found = scorer(seed=seed)
            seconds[name].append(time.perf_counter() - started)
            scores[name].append(found)
            print(f"seed {seed}, {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return {
        name: Runs(trials[name], np.array(seconds[name]), np.array(scores[name]))
        for name in scorers
    }


def rows_of(work, found):
    """Yield one row for each scorer, all held against the first."""
    base, *_ = found.values()
    seeds, generator = len(base.seconds), np.random.default_rng(0)
    drawn = generator.integers(seeds, size=(1000, seeds))
    drawn = [chosen for chosen in drawn if len(set(chosen)) > 1]  # one seed has no spread
    for name, runs in found.items():
        again = [base.of(chosen).cost() / runs.of(chosen).cost() for chosen in drawn]
        yield {
            "work": work,
            "scorer": name,
            "trials": runs.trials,
            "seconds": statistics.median(runs.seconds),
            "spread": runs.squared_spread() ** 0.5,
            "mean": float(np.median(runs.scores.mean(axis=0) / base.scores.mean(axis=0))),
            "gain": base.cost() / runs.cost(),
            "interval": np.percentile(again, [5, 95]).tolist(),
        }


def against_plain(bundle, work, texts, plain_trials, seeds, lower):
    """Yield the rows of one kind of work, the plain algorithm's first."""
    written = replace(bundle, model=copy.deepcopy(bundle.model))
    scorers = {
        "plain, float32": partial(plain_scores, written, texts, plain_trials),
        "fast, float32": partial(fast_scores, bundle, texts, precision="float32"),
    }
    if lower:
        scorers["fast, bfloat16"] = partial(fast_scores, bundle, texts)
    yield from rows_of(work, measured(scorers, seeds))


def disjoint_pairs(distances, *_control):
    """Compare each noisy instance with one other only, in place of `error_bars.all_pairs`."""
    first = torch.arange(0, distances.shape[2] - 1, 2)
    found = distances[:, :, first, first + 1]
    variance = found.mean(dim=1).var(dim=1) / len(first)
    return found.mean(dim=2).cpu().numpy(), variance.nan_to_num().cpu().numpy()


# What each lever of the fast estimator's speed or precision is replaced by.
PATCHES = {
    "comparing all pairs": (estimators, "all_pairs", disjoint_pairs),
    "skipping the blocks before the noise": (
        *(partial_forward.Recording, "earlier_blocks"),
        lambda *_: {},
    ),
    "starting inside the block": (
        *(partial_forward.Recording, "finished_inside"),
        lambda *_: {},
    ),
    "computing only tokens that count": (partial_forward, "tokens_that_count", lambda *_: {}),
    "one pass for a block's modules": (estimators, "block_of", lambda name: name),
    "batches of texts of like length": (estimators, "_smaller_batches", lambda batch: [batch]),
}
CONTROL = (estimators, "_is_controlled", lambda *_: False)


def small_language_model(tokenizer, device):
    """Return a Llama of 4 layers with random weights and the tokenizer's vocabulary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=688,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).eval().to(device)
    return ModelBundle(model, tokenizer, "small Llama", frozenset())


def patched(scorer, patch):
    """Return a scorer that works with something else in one place."""

    def score_so(seed):
        with contextlib.ExitStack() as stack:
            stack.enter_context(unittest.mock.patch.object(*patch))
            return scorer(seed=seed)

    return score_so


def ablation(bundle, texts, seeds, lower):
    """Yield time and precision without each lever, in three tables."""
    whole = partial(fast_scores, bundle, texts)
    scorers = {"nothing": whole}
    if lower:
        scorers["bfloat16"] = partial(whole, precision="float32")
    scorers["the expected head (the seed's)"] = partial(whole, head_draw="seed")
    scorers |= {name: patched(whole, patch) for name, patch in PATCHES.items()}
    yield from rows_of("expected head, without", measured(scorers, seeds))
    # One head that all seeds keep; `random` names no weight of it, so that it counts as trained.
    kept = replace(bundle, name=f"{bundle.name}, trained head", random=frozenset())
    whole = partial(fast_scores, kept, texts)
    scorers = {"nothing": whole, "the linear response as control": patched(whole, CONTROL)}
    yield from rows_of("trained head, without", measured(scorers, seeds))
    model = small_language_model(bundle.tokenizer, bundle.model.device)
    whole = partial(fast_scores, model, texts)
    scorers = {"nothing": whole, "a vocabulary sample": partial(whole, vocabulary_sample=None)}
    yield from rows_of("small Llama, all tokens, without", measured(scorers, seeds))


def show(row):
    """Print one row as Markdown."""
    low, high = row["interval"]
    print(
        f"| {row['work']} | {row['scorer']} | {row['trials']} | {row['seconds']:.2f} | "
        f"{row['spread']:.1%} | {row['mean']:.2f} | "
        f"{row['gain']:.3g}× ({low:.3g} to {high:.3g}) |",
        flush=True,
    )


def show_ranks(bundle, name, trials, pairs):
    """Print how stable ranks are, and with how many instances they are settled; return the rows."""
    task = load_task(name)
    print(f"\n16 texts of {task.name}, {pairs} pairs of disjoint draws\n")
    print("| instances | seconds | Spearman of ranks, median | least |\n|---|---|---|---|")
    rows = []
    for row in our_rows(bundle, task, 16, trials, pairs):
        rows.append(row)
        print(
            f"| {row['instances']} | {row['seconds']:.2f} | {row['spearman']:.4f} | "
            f"{row['least_spearman']:.4f} |",
            flush=True,
        )
    settled = next((row for row in rows if row["spearman"] >= SETTLED), None)
    told = settled and f"{settled['instances']} instances, {settled['seconds']:.2f} s a scoring"
    print(f"\nranks at Spearman ≥ {SETTLED}: {told or 'not reached'}")
    return rows


def main() -> None:
    """Measure, print Markdown, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--long-task", help="a task or file: 64 of its texts are one kind of work")
    parser.add_argument("--long-texts", type=int, default=64)
    parser.add_argument("--ranks", action="store_true", help="when ranks agree between draws")
    parser.add_argument("--task", default="docstrings", help="a task or file, for --ranks")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 4, 8], help="for --ranks")
    parser.add_argument("--ablation", action="store_true", help="one lever away at a time")
    parser.add_argument("--seeds", type=int, default=8, help="at least 2")
    parser.add_argument("--plain-trials", type=int, default=5, help="pairs of noisy models")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2: there is no spread over one")
    bundle = load_model("embedded", device=arguments.device, dtype="float32")
    machine = about(bundle.model.device)
    lower = machine["bfloat16 is native"]
    work = {"one sentence": sentence(SENTENCE), "16 held sentences": HELD}
    if arguments.long_task:
        long = load_task(arguments.long_task).sample_texts(arguments.long_texts, seed=0)
        work[f"{len(long)} texts of {long.source}"] = replace(long, sampled=False)
    print(f"{machine}, {arguments.seeds} seeds\n\n{HEAD}", flush=True)
    rows, ranks = [], []
    for name, texts in work.items():
        for row in against_plain(
            bundle, name, texts, arguments.plain_trials, arguments.seeds, lower
        ):
            rows.append(row)
            show(row)
    if arguments.ablation:
        print(f"\n{HEAD.replace('plain', 'whole').replace('gain', 'share of the gain')}")
        for row in ablation(bundle, HELD, arguments.seeds, lower):
            rows.append(row)
            show(row)
    if arguments.ranks:
        ranks = show_ranks(bundle, arguments.task, sorted(arguments.trials), arguments.seeds)
    if arguments.json:
        found = {"machine": machine, "seeds": arguments.seeds, "rows": rows, "ranks": ranks}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
