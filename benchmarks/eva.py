"""Measure scoring against EVA at equal stability of ranks: seconds to ranks that do not move.

Run it from the repository's root: ``python benchmarks/eva.py --task PATH``. Both get the same
model and budget (8 on average). For EVA (PEFT's `initialize_lora_eva_weights`) the clock runs over
that call alone: neither the PEFT model around it nor tokenising counts, and all texts are one
batch, with which its singular vectors settle after three passes (of batches of 16 they did not in
60 rounds). For `score` it runs over everything, and every scoring has a seed of its own.

Stability is Spearman's correlation over modules between the ranks from two disjoint draws of texts,
the median over pairs of draws. `score` gets 16 texts and more and more instances, EVA more and more
texts. Of every row of EVA the cheapest row of `score` that is as stable is looked for, and the
other way round: the ratio of their seconds is what counts.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path

from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import Texts, adaptable_modules, allocate, load_model, load_task, score
from adarank_core.scoring.encoding import encode
from benchmarks.machine import about

AVERAGE_RANK = 8


def eva_ranks(bundle, texts):
    """Return the ranks of PEFT's initialisation, and the seconds it took."""
    names = [module.name for module in adaptable_modules(bundle.model)]
    config = LoraConfig(
        r=AVERAGE_RANK,
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


def our_ranks(bundle, texts, seed, trials):
    """Return the ranks that scores give, and the seconds they took."""
    started = time.perf_counter()
    plan = allocate(score(bundle, texts, trials=trials, seed=seed), AVERAGE_RANK)
    return list(plan.ranks.values()), time.perf_counter() - started


def disjoint_draws(task, count, pairs):
    """Return so many pairs of draws of ``count`` texts, the two of a pair without a common row."""
    draws = []
    for seed in range(pairs):
        items = task.sample_texts(2 * count, seed=seed).items
        if len(items) < 2 * count:
            raise SystemExit(f"{task.name} has too few texts for two draws of {count}")
        draws.append([Texts(task.name, items[:count]), Texts(task.name, items[count:])])
    return draws


def stability(ranks_of, draws):
    """Return median seconds, and median and least Spearman over pairs of disjoint draws.

    Parameters
    ----------
    ranks_of : callable
        Takes texts and a seed, which is another for every draw; returns ranks and seconds.
    draws : list of list of Texts
        As `disjoint_draws` makes them.
    """
    seconds, found = [], []
    for number, pair in enumerate(draws):
        (one, first), (other, second) = (
            ranks_of(texts, 2 * number + at) for at, texts in enumerate(pair)
        )
        seconds += [first, second]
        found.append(float(spearmanr(one, other).statistic))
    return {
        "seconds": statistics.median(seconds),
        "spearman": statistics.median(found),
        "least_spearman": min(found),
    }


def our_rows(bundle, task, texts, trials, pairs):
    """Yield how stable the ranks of `score` are, a row for each number of instances."""
    draws = disjoint_draws(task, texts, pairs)
    for number in trials:
        found = stability(
            lambda texts, seed, number=number: our_ranks(bundle, texts, seed, number), draws
        )
        yield {"scorer": "score", "texts": texts, "instances": number, **found}


def eva_rows(bundle, task, counts, pairs):
    """Yield how stable EVA's ranks are, a row for each number of texts."""
    for count in counts:
        found = stability(
            lambda texts, _seed: eva_ranks(bundle, texts), disjoint_draws(task, count, pairs)
        )
        yield {"scorer": "EVA", "texts": count, "instances": "", **found}


def cheapest(rows, spearman):
    """Return the fastest row that is as stable as this, or None."""
    enough = [row for row in rows if row["spearman"] >= spearman]
    return min(enough, key=lambda row: row["seconds"], default=None)


def comparison(row, others):
    """Say in one line what the other scorer takes to be as stable as a row."""
    ours = row["scorer"] == "score"
    name = f"{row['scorer']}, {row['texts']} texts" + ours * f", {row['instances']} instances"
    told = f"{name}: {row['spearman']:.3f} in {row['seconds']:.2f} s; "
    best = cheapest(others, row["spearman"])
    if best is None:
        most = max(others, key=lambda other: other["spearman"])
        return told + f"{most['scorer']} does not reach it ({most['spearman']:.3f} at most)"
    gain = (best["seconds"] / row["seconds"]) if ours else (row["seconds"] / best["seconds"])
    return told + (
        f"{best['scorer']} reaches it with {best['texts']} texts in {best['seconds']:.2f} s: "
        f"score is {gain:.1f}× as fast"
    )


def main() -> None:
    """Measure, print Markdown, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="docstrings", help="a task or file to draw texts from")
    parser.add_argument(
        "--eva-texts", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256], help="in a draw"
    )
    parser.add_argument("--texts", type=int, default=16, help="in a draw for score")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 4, 8])
    parser.add_argument("--pairs", type=int, default=8, help="pairs of disjoint draws")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    task = load_task(arguments.task)
    bundle = load_model("embedded", device=arguments.device)
    machine = about(bundle.model.device, "peft")
    print(f"{machine}\n{task.name}, {arguments.pairs} pairs of disjoint draws\n")
    print("| ranks from | texts | instances | seconds | Spearman, median | least |")
    print("|---|---|---|---|---|---|", flush=True)
    ours, evas = [], []
    for rows, found in (
        (ours, our_rows(bundle, task, arguments.texts, arguments.trials, arguments.pairs)),
        (evas, eva_rows(bundle, task, arguments.eva_texts, arguments.pairs)),
    ):
        for row in found:
            rows.append(row)
            print(
                f"| {row['scorer']} | {row['texts']} | {row['instances']} | {row['seconds']:.2f} | "
                f"{row['spearman']:.3f} | {row['least_spearman']:.3f} |",
                flush=True,
            )
    lines = [comparison(row, ours) for row in evas] + [comparison(row, evas) for row in ours]
    print("\n" + "\n".join(lines))
    if arguments.json:
        result = {"machine": machine, "task": task.name, "rows": ours + evas, "compared": lines}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
