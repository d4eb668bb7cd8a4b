"""Measure how scoring grows: in time and memory, with layers, texts, instances, tokens, vocabulary.

Run it from the repository's root: ``python benchmarks/growth.py --plot growth.html``. Layers grow
in random BERT models made from configurations (hidden size 256), the vocabulary in random Llamas of
4 layers that are judged by all tokens; all else grows in MiniLM. One thing grows at a time, the
others stay at 16 texts of 32 tokens and 4 instances, which is what 16 texts get by default.

Every point is measured in a process of its own. Memory is the most that scoring held above the
loaded model: the process's peak from the first scoring on (Linux resets it on request) less what
it holds after one clean forward pass of the same texts, freed memory given back to the system
first. Seconds are the median of the scorings that follow.
"""

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

USUAL = {"texts": 16, "trials": 4, "tokens": 32}
STATUS = Path("/proc/self/status")


def held(what):
    """Return megabytes of this process: "VmRSS" now, "VmHWM" at the most since the reset."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) / 1024


def built(layers, vocabulary):
    """Return MiniLM, or a random BERT or Llama of such a size with MiniLM's tokenizer."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForCausalLM,
    )

    from adarank_core import ModelBundle, load_model

    bundle = load_model("embedded", device="cpu")
    if layers is None and vocabulary is None:
        return bundle
    torch.manual_seed(0)
    sizes = {
        "vocab_size": vocabulary or len(bundle.tokenizer),
        "hidden_size": 256,
        "num_hidden_layers": layers or 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    }
    if vocabulary is None:
        model = BertForSequenceClassification(BertConfig(**sizes))
    else:
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    return ModelBundle(model.eval(), bundle.tokenizer, "made")


def measure_here(layers, vocabulary, texts, trials, tokens, repeats):
    """Return seconds and megabytes of one point, as a dictionary."""
    import torch

    from adarank_core import generic_texts, score
    from adarank_core.data.texts import as_texts
    from adarank_core.scoring.encoding import encode, logits_of

    bundle = built(layers, vocabulary)
    # The generic sentences one after another, from another one on for every text: all are cut.
    words = " ".join(generic_texts().items).split()
    long = as_texts([" ".join(words[at % 50 :]) for at in range(texts)])
    options = {"trials": trials, "max_length": tokens, "seed": 0}
    batches = encode(bundle, long, tokens)
    if any(batch["input_ids"].shape[1] != tokens for batch in batches):
        raise SystemExit(f"the generic sentences have fewer than {tokens} tokens")
    with torch.inference_mode():
        for batch in batches:
            logits_of(bundle.model, batch)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    score(bundle, long, **options)
    peak = held("VmHWM") - before
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        score(bundle, long, **options)
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds), "megabytes": peak}


def measure(point, repeats):
    """Measure one point in a fresh process."""
    told = json.dumps({"layers": None, "vocabulary": None, **USUAL, **point, "repeats": repeats})
    command = [sys.executable, __file__, "--point", told]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def plot(rows, path):
    """Draw seconds and megabytes against each thing that grows, into one HTML file."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    axes = list(dict.fromkeys(row["grows"] for row in rows))
    figure = make_subplots(rows=2, cols=len(axes), shared_xaxes=True)
    for column, axis in enumerate(axes, 1):
        mine = [row for row in rows if row["grows"] == axis]
        for line, key in enumerate(("seconds", "megabytes"), 1):
            points = {"x": [row["value"] for row in mine], "y": [row[key] for row in mine]}
            figure.add_trace(go.Scatter(**points, showlegend=False), row=line, col=column)
        figure.update_xaxes(title_text=axis, row=2, col=column)
    for line, title in enumerate(("seconds", "megabytes above the model"), 1):
        figure.update_yaxes(title_text=title, row=line, col=1)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(title_text="How scoring grows")
    figure.write_html(path, include_plotlyjs=True)


def main() -> None:
    """Measure all points, print Markdown, and write JSON and HTML where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, nargs="*", default=[2, 4, 8, 12])
    parser.add_argument(
        "--vocabulary", type=int, nargs="*", default=[32_000, 64_000, 128_000, 256_000]
    )
    parser.add_argument("--texts", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--trials", type=int, nargs="*", default=[4, 8, 16, 32])
    parser.add_argument("--tokens", type=int, nargs="*", default=[8, 16, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="an HTML file")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(measure_here(**json.loads(arguments.point))))
        return
    from benchmarks.machine import about

    machine = about()
    print(f"{machine}\n\n| what grows | to | seconds | megabytes above the model |")
    print("|---|---|---|---|", flush=True)
    rows = []
    for axis in ("layers", "vocabulary", *USUAL):
        for value in getattr(arguments, axis):
            row = {"grows": axis, "value": value}
            row |= measure({axis: value}, arguments.repeats)
            rows.append(row)
            print(
                f"| {axis} | {value} | {row['seconds']:.2f} | {row['megabytes']:.0f} |", flush=True
            )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
