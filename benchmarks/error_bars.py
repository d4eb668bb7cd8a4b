"""Measure whether error bars tell how far seeds lie apart, and what ranks do from seed to seed.

Run it from the repository's root: ``python benchmarks/error_bars.py``, with ``--task NAME`` for
disjoint samples of a task's texts in place of held ones. A model is scored with many seeds. For
every module the spread of its score over seeds is divided by its mean reported error, and it is
counted how often the 95% interval (1.96 errors to each side) covers the mean over the other seeds.
Medians over modules are printed, with the machine's kind.
"""

import argparse
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import allocate, generic_texts, load_model, load_task, score, sentence
from adarank_core.scoring.models import ModelBundle
from benchmarks.machine import about

SENTENCE = "Which layers of a language model matter most when it learns a new task?"
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 128,
    "dim": 64,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 128,
    "pad_token_id": 0,
    "initializer_range": 0.1,
}


def tiny(kind, tokenizer):
    """Make a small model of another architecture, its head at random."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **SIZES)
    causal = kind == "llama"
    build = LlamaForCausalLM if causal else AutoModelForSequenceClassification.from_config
    model = build(config).eval()
    inside = f"{model.base_model_prefix}."
    random = (
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and not name.startswith(inside)
    )
    return ModelBundle(model, tokenizer, f"tiny {kind}", frozenset(() if causal else random))


def calibration(bundle, texts_of, seeds, **options):
    """Return one row: spread over error, coverage, relative spread and how ranks change."""
    scores = [score(bundle, texts_of(seed), seed=seed, **options) for seed in range(seeds)]
    found = np.array([[m.score for m in one.modules] for one in scores])
    errors = np.array([[m.standard_error for m in one.modules] for one in scores])
    spread, mean = found.std(axis=0, ddof=1), found.mean(axis=0)
    others = (found.sum(axis=0) - found) / (seeds - 1)
    # The mean of the others is a sample, too.
    within = np.abs(found - others) <= 1.96 * np.sqrt(errors**2 + spread**2 / (seeds - 1))
    ranks = [list(allocate(one, average_rank=8).ranks.values()) for one in scores]
    pairs = [np.abs(np.subtract(*pair)) for pair in itertools.combinations(ranks, 2)]
    return {
        "trials": scores[0].trials,
        "spread / error": float(np.median(spread / errors.mean(axis=0))),
        "coverage": float(within.mean()),
        "relative spread": float(np.median(spread / mean)),
        "most changing rank": float(np.mean(pairs, axis=0).max()),
        "largest change": float(np.mean([pair.max() for pair in pairs])),
    }


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--task", help="disjoint samples of this task's texts, on MiniLM alone")
    parser.add_argument("--models", default="minilm,roberta,distilbert,llama")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--json", help="write all rows to this file")
    arguments = parser.parse_args()
    minilm = load_model("embedded")
    sources = {
        "one sentence": lambda seed: sentence(SENTENCE),
        "16 generic texts": lambda seed: generic_texts(),
    }
    if arguments.task:
        drawn = load_task(arguments.task).sample_texts(16 * arguments.seeds, seed=0)

        def sample(seed):
            part = drawn.items[16 * seed : 16 * (seed + 1)]
            return replace(drawn, items=part)

        sources = {f"16 of {arguments.task}": sample}
    rows = []
    for kind in ("minilm",) if arguments.task else arguments.models.split(","):
        bundle = minilm if kind == "minilm" else tiny(kind, minilm.tokenizer)
        trained = replace(bundle, name=f"{bundle.name}, trained head", random=frozenset())
        ways = [(bundle, "fast"), (bundle, "paired"), (trained, "fast")]
        for (model, estimator), (source, texts_of) in itertools.product(ways, sources.items()):
            if model is trained and bundle.task_type == "CAUSAL_LM":
                continue  # it has one already
            found = calibration(
                model, texts_of, arguments.seeds, estimator=estimator, trials=arguments.trials
            )
            rows.append({"model": model.name, "texts": source, "estimator": estimator, **found})
            print("  ".join(f"{v:.3f}" if type(v) is float else str(v) for v in rows[-1].values()))
    print(about())
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
