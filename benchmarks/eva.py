"""Measure scoring against EVA's ranks: time to ranks, and how far two draws of texts agree.

Run it from the repository's root: ``python benchmarks/eva.py --task PATH``. Both get the same
model and texts. For EVA (PEFT's `initialize_lora_eva_weights`) the clock runs over that call alone:
neither the PEFT model around it nor tokenising counts, and all texts are one batch, with which its
singular vectors settle after three passes (of batches of 16 they did not in 60 rounds). For `score`
it runs over everything, and every scoring has a seed of its own: other noise and another head.

Agreement is Spearman's correlation over modules between the scores (for EVA: the ranks) of two
disjoint draws of texts, the median over the repeats. A scorer whose median is below 0.95 has not
found the ranks yet and gets more texts; what counts is the time of the cheapest row that has.
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

import torch
from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import Texts, adaptable_modules, load_model, load_task, score
from adarank_core.scoring.encoding import encode

ENOUGH = 0.95


def eva_ranks(bundle, texts, average_rank):
    """Return the ranks of PEFT's initialisation, and the seconds it took."""
    names = [module.name for module in adaptable_modules(bundle.model)]
    config = LoraConfig(
        r=average_rank,
        target_modules=names,
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=2.0),
    )
    # On the meta device until EVA fills it, as PEFT advises.
    model = get_peft_model(copy.deepcopy(bundle.model), config, low_cpu_mem_usage=True)
    batches = encode(bundle, texts, batch_size=len(texts))
    started = time.perf_counter()
    initialize_lora_eva_weights(model, batches, show_progress_bar=False)
    seconds = time.perf_counter() - started
    ranks = dict.fromkeys(names, 0)
    for path, parameter in model.named_parameters():
        if ".lora_A." in path:
            name = path.removeprefix("base_model.model.").split(".lora_A.")[0]
            ranks[name] = len(parameter)
    return list(ranks.values()), seconds


def our_scores(bundle, texts, trials, seed):
    """Return the scores and the seconds they took."""
    started = time.perf_counter()
    found = score(bundle, texts, trials=trials, seed=seed)
    return [module.score for module in found.modules], time.perf_counter() - started


def agreement(scorer, draws):
    """Return median seconds, median and least Spearman over pairs of disjoint draws."""
    scorer(draws[0][0], 0)  # warms up
    seconds, found = [], []
    for number, pair in enumerate(draws):
        scored = [scorer(texts, 2 * number + at) for at, texts in enumerate(pair)]
        seconds += [taken for _, taken in scored]
        found.append(float(spearmanr(scored[0][0], scored[1][0]).statistic))
    return {
        "seconds": statistics.median(seconds),
        "spearman": statistics.median(found),
        "least_spearman": min(found),
    }


def main() -> None:
    """Measure, print Markdown, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="docstrings", help="a task or file to draw texts from")
    parser.add_argument("--texts", type=int, nargs="+", default=[16, 64, 256], help="in a draw")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of disjoint draws")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--average-rank", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    task = load_task(arguments.task)
    bundle = load_model("embedded", labels=len(task.label_names))
    most = max(arguments.texts)
    drawn = [task.sample_texts(2 * most, seed=seed).items for seed in range(arguments.repeats)]
    about = {
        "cores": torch.get_num_threads(),
        "processor": platform.machine(),
        "task": task.name,
        "repeats": arguments.repeats,
        **{name: version(name) for name in ("torch", "transformers", "peft")},
    }
    print(f"{about}\n")
    print("| scorer | texts | seconds | Spearman, median | least |")
    print("|---|---|---|---|---|", flush=True)
    scorers = {"EVA": lambda texts, seed: eva_ranks(bundle, texts, arguments.average_rank)}
    for trials in arguments.trials:
        scorers[f"score, {trials} instances"] = lambda texts, seed, trials=trials: our_scores(
            bundle, texts, trials, seed
        )
    rows = []
    for name, scorer in scorers.items():
        for count in sorted(arguments.texts):
            draws = [
                [Texts(task.name, items[start : start + count]) for start in (0, most)]
                for items in drawn
            ]
            row = {"scorer": name, "texts": count, **agreement(scorer, draws)}
            rows.append(row)
            print(
                f"| {name} | {count} | {row['seconds']:.3f} | {row['spearman']:.3f} | "
                f"{row['least_spearman']:.3f} |",
                flush=True,
            )
            if row["spearman"] >= ENOUGH:
                break  # more texts only cost more
    print()
    fastest = {}
    for kind in ("EVA", "score"):
        enough = [r for r in rows if r["scorer"].startswith(kind) and r["spearman"] >= ENOUGH]
        best = fastest[kind] = min(enough, key=lambda row: row["seconds"], default=None)
        told = best and f"{best['seconds']:.2f} s ({best['scorer']}, {best['texts']} texts)"
        print(f"{kind} to a Spearman of {ENOUGH}: {told or 'not reached'}")
    if all(fastest.values()):
        gain = fastest["EVA"]["seconds"] / fastest["score"]["seconds"]
        print(f"score is {gain:.1f}× as fast to a Spearman of {ENOUGH}")
    if arguments.json:
        result = {"machine": about, "rows": rows, "fastest": fastest}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
