"""Print MiniLM's score heatmaps in every mode, and how alike scores from unlike texts are.

Run it from the repository's root: ``python benchmarks/heatmaps.py --task PATH``. The modes are
compared on the same 16 texts of the task: ``paper``, ``notebook`` with a real reset, and
``notebook-accumulating`` as published, layers scanned forward and reversed. Then the paper's scores
on generic sentences, on the task's texts and on a single one of them are correlated (Spearman over
modules, with other noise for each), beside two scorings of the same texts: what noise alone leaves.
"""

import argparse
import json
import platform
import sys
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import generic_texts, load_model, load_task, score, sentence

MODES = {
    "paper": {"mode": "paper"},
    "notebook": {"mode": "notebook"},
    "notebook-accumulating, forward": {"mode": "notebook-accumulating"},
    "notebook-accumulating, reversed": {"mode": "notebook-accumulating", "scan": "reversed"},
}


def table(scores):
    """Return scores as rows of layers and columns of families."""
    found = {(module.layer, module.family): module.score for module in scores.modules}
    layers = sorted({layer for layer, _ in found})
    return [[found[layer, family] for family in scores.families] for layer in layers]


def markdown(scores):
    """Return the table as Markdown, layers downwards from the input."""
    lines = [
        "| layer | " + " | ".join(scores.families) + " |",
        "|---" * (len(scores.families) + 1) + "|",
    ]
    for layer, row in enumerate(table(scores)):
        lines.append(f"| {layer} | " + " | ".join(f"{value:.4f}" for value in row) + " |")
    return "\n".join(lines)


def plot(found, path):
    """Write all heatmaps into one HTML file that needs nothing else."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=len(found), subplot_titles=list(found))
    for column, scores in enumerate(found.values(), 1):
        heatmap = go.Heatmap(z=table(scores), x=scores.families, showscale=False)
        figure.add_trace(heatmap, row=1, col=column)
    figure.update_yaxes(title_text="layer", col=1)
    figure.update_layout(
        title_text="MiniLM: scores by layer and family, each mode on its own scale"
    )
    figure.write_html(path, include_plotlyjs=True)


def main() -> None:
    """Score in all modes and on all texts, print Markdown, and write JSON and HTML where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="docstrings", help="a task or file to draw texts from")
    parser.add_argument("--trials", type=int, help="instances or pairs a module")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an HTML file")
    arguments = parser.parse_args()
    task = load_task(arguments.task)
    texts = task.sample_texts(16, seed=0)
    bundle = load_model("embedded", labels=len(task.label_names))
    about = {
        "cores": torch.get_num_threads(),
        "processor": platform.machine(),
        "task": task.name,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    print(f"{about}\n")
    modes = {}
    for name, options in MODES.items():
        modes[name] = score(bundle, texts, trials=arguments.trials, seed=0, **options)
        print(f"**{name}** ({modes[name].trials} trials)\n\n{markdown(modes[name])}\n", flush=True)
    sources = {
        "generic": generic_texts(),
        "task": texts,
        "task, noise drawn again": texts,
        "single sentence": sentence(texts.items[0]),
    }
    by_source = {
        name: [
            module.score
            for module in score(bundle, source, trials=arguments.trials, seed=seed).modules
        ]
        for seed, (name, source) in enumerate(sources.items(), 1)
    }
    print("| scores on | against | Spearman |\n|---|---|---|")
    correlations = []
    for one, other in combinations(by_source, 2):
        value = float(spearmanr(by_source[one], by_source[other]).statistic)
        correlations.append({"one": one, "other": other, "spearman": value})
        print(f"| {one} | {other} | {value:.3f} |")
    if arguments.json:
        result = {
            "machine": about,
            "scores": {name: scores.to_dict() for name, scores in modes.items()},
            "correlations": correlations,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.plot:
        plot(modes, arguments.plot)


if __name__ == "__main__":
    main()
