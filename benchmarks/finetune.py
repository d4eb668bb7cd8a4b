"""Measure fine-tuning against a plain PyTorch + PEFT loop: examples a second, and what is learned.

Run it from the repository's root: ``python benchmarks/finetune.py``. It prints Markdown; ``--json
PATH`` keeps every measurement. All rows of a seed run one after the other in one process, so that
they meet the same machine; figures are medians over the seeds.

The plain loop is what one would first write: texts tokenised once, random batches padded to their
longest, float32, AdamW under the same schedule, from the same weights. The other rows are this
library's own training with more and more of its levers; the last that the machine allows is what
it does by itself. Time is counted from the end of the first step to the end of the last one, with
loading, padding and recording of a batch in it, without evaluation. ``shipped`` is the library as
it comes; there the shares of what a step does not need are measured: telling (events to a file,
the question whether to stop), evaluating on the way, checkpoints.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from transformers import Trainer, get_linear_schedule_with_warmup

from adarank_core import load_model, load_task
from adarank_core.comparison.planner import same_rank
from adarank_core.comparison.statistics import paired_comparison
from adarank_core.hardware import bf16_is_native
from adarank_core.numerals import signed
from adarank_core.runs import jobs
from adarank_core.scoring.encoding import longest_text
from adarank_core.training import finetuning, objectives
from adarank_core.training.adapters import adapted
from adarank_core.training.callbacks import Live
from adarank_core.training.finetuning import Settings, finetune

# Row → the levers that are used: batches grouped by length, computed in parts of like length, the
# lean forward pass, bf16. Where the machine only emulates bf16 the library does not use it, and its
# rows are left out.
ROWS = {
    "plain loop": None,
    "trainer": (),
    "grouping": ("grouping",),
    "grouping, parts": ("grouping", "parts"),
    "grouping, parts, lean": ("grouping", "parts", "lean"),
    "bf16": ("bf16",),
    "all": ("grouping", "parts", "lean", "bf16"),
}


def plain_loop(model_name: str, task, plan, settings: Settings, seed: int) -> dict:
    """Train as one would first write it; return its speed and its test loss."""
    bundle = load_model(model_name, labels=len(task.label_names), head="classification")
    model = adapted(bundle, plan, seed=seed)
    length = min(settings.max_length, longest_text(bundle))
    rows = bundle.tokenizer(list(task.train["text"]), truncation=True, max_length=length)
    rows, labels = rows["input_ids"], torch.tensor(task.train["label"].tolist())
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    warm_up = round(0.06 * settings.steps)
    schedule = get_linear_schedule_with_warmup(optimizer, warm_up, settings.steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    torch.manual_seed(seed)
    waiting: list[int] = []
    for step in range(settings.steps):
        while len(waiting) < settings.batch_size:
            waiting += torch.randperm(len(rows)).tolist()
        chosen, waiting = waiting[: settings.batch_size], waiting[settings.batch_size :]
        batch = bundle.tokenizer.pad(
            {"input_ids": [rows[at] for at in chosen]}, return_tensors="pt"
        )
        loss = model(**batch.to(device), labels=labels[chosen].to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        if step == 0:
            began = time.perf_counter()
    seconds = time.perf_counter() - began
    return {
        "speed": _speed(settings, seconds),
        "test_loss": _test_loss(model, bundle, task, length),
    }


@torch.inference_mode()
def _test_loss(model, bundle, task, length: int) -> float:
    model.eval()
    texts, labels = list(task.test["text"]), torch.tensor(task.test["label"].tolist())
    total, options = 0.0, {"truncation": True, "max_length": length, "padding": True}
    for start in range(0, len(texts), 64):
        batch = bundle.tokenizer(texts[start : start + 64], return_tensors="pt", **options)
        logits = model(**batch.to(model.device)).logits.float().cpu()
        part = labels[start : start + 64]
        total += torch.nn.functional.cross_entropy(logits, part, reduction="sum").item()
    return total / len(texts)


def library(
    model_name: str, task, plan, settings: Settings, seed: int, levers: tuple[str, ...]
) -> dict:
    """Train with the library, without the levers that are not named."""
    without = {
        "parts": {"PartsTrainer": Trainer},
        "lean": {
            "make_lean": lambda model, first_token: None,
            "cast_frozen": lambda model: None,
        },
        "bf16": {"bf16_is_native": lambda _device: False},
    }
    events: list[dict] = []
    with ExitStack() as patches:
        if "grouping" not in levers:
            patches.enter_context(mock.patch.object(objectives, "LengthGroupedOrder", _random))
        for lever in without.keys() - set(levers):
            patches.enter_context(mock.patch.multiple(finetuning, **without[lever]))
        result = finetune(model_name, task, plan, settings, seed=seed, on_event=events.append)
    steps = [event["seconds"] for event in events if event["event"] == "step"]
    return {"speed": _speed(settings, steps[-1] - steps[0]), "test_loss": result["test_loss"]}


def _random(lengths, labels, batch_size: int, steps: int, seed: int) -> list[int]:
    draw, order = np.random.default_rng(seed), []
    while len(order) < batch_size * steps:
        order += draw.permutation(len(lengths)).tolist()
    return order[: batch_size * steps]


def _speed(settings: Settings, seconds: float) -> float:
    return (settings.steps - 1) * settings.batch_size / seconds


def shipped(model_name: str, task, plan, settings: Settings, seed: int) -> dict:
    """Train as the command line does; return what share of the time is not training."""
    spent = {"telling": 0.0, "evaluating": 0.0, "checkpoints": 0.0}
    inside = [(Live, "on_log", "telling"), (Live, "on_step_end", "telling")]
    inside += [(Trainer, "evaluate", "evaluating"), (Trainer, "_save_checkpoint", "checkpoints")]
    with ExitStack() as patches:
        for owner, name, what in inside:
            patches.enter_context(_timed(owner, name, spent, what))
        folder = Path(patches.enter_context(tempfile.TemporaryDirectory()))
        with jobs.open_run(folder, {}) as recorder:
            options = {"output": folder, "on_event": recorder.record}
            result = finetune(
                model_name,
                task,
                plan,
                settings,
                seed=seed,
                should_stop=recorder.should_stop,
                **options,
            )
    # An evaluation is told of from within, but what that takes belongs to both.
    return {what: seconds / result["train_seconds"] for what, seconds in spent.items()}


@contextmanager
def _timed(owner, name: str, spent: dict, what: str):
    real = getattr(owner, name)

    def timed(*arguments, **options):
        started = time.perf_counter()
        try:
            return real(*arguments, **options)
        finally:
            spent[what] += time.perf_counter() - started

    with mock.patch.object(owner, name, timed):
        yield


def measured(
    model_name: str, task, settings: Settings, rank: int, seeds: list[int], wanted: list[str]
) -> dict:
    """Run the plain loop and the rows that are wanted with every seed."""
    plan = same_rank(model_name, rank)
    once = Settings(**{**vars(settings), "evaluations": 1})
    able = bf16_is_native()
    chosen = {
        name: levers
        for name, levers in ROWS.items()
        if levers is None or (name in wanted and (able or "bf16" not in levers))
    }
    rows: dict[str, list[dict]] = {name: [] for name in chosen}
    shares = []
    for seed in seeds:
        for name, levers in chosen.items():
            print(f"{task.name}: {name}, seed {seed} …", file=sys.stderr)
            if levers is None:
                rows[name].append(plain_loop(model_name, task, plan, once, seed))
            else:
                rows[name].append(library(model_name, task, plan, once, seed, levers))
        if "shipped" in wanted:
            print(f"{task.name}: shipped, seed {seed} …", file=sys.stderr)
            shares.append(shipped(model_name, task, plan, settings, seed))
    return {"task": task.name, "seeds": seeds, "rows": rows, "shares": shares}


def markdown(found: dict) -> str:
    """Return a task's measurements as tables."""
    plain = found["rows"]["plain loop"]
    lines = [f"**{found['task']}**, {len(found['seeds'])} seeds", ""]
    lines += ["| row | examples a second | times plain | test loss | minus plain (95% interval) |"]
    lines += ["|---|---|---|---|---|"]
    for name, runs in found["rows"].items():
        speed = statistics.median(run["speed"] for run in runs)
        ratios = [ours["speed"] / base["speed"] for ours, base in zip(runs, plain, strict=True)]
        losses = [run["test_loss"] for run in runs]
        against = "–"
        if name != "plain loop":
            compared = paired_comparison(losses, [run["test_loss"] for run in plain])
            against = signed(compared["difference"])
            if compared["ci_low"] is not None:
                against += f" ({signed(compared['ci_low'])} to {signed(compared['ci_high'])})"
        times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        loss = statistics.median(losses)
        lines.append(f"| {name} | {speed:.1f} | {times} | {loss:.3f} | {against} |")
    if not found["shares"]:
        return "\n".join(lines)
    lines += ["", "| of the training time, as shipped | median share |", "|---|---|"]
    for what in found["shares"][0]:
        share = statistics.median(run[what] for run in found["shares"])
        lines.append(f"| {what} | {share:.2%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure the tasks that are asked for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", action="append", help="default docstrings; several are allowed")
    rows = [name for name, levers in ROWS.items() if levers is not None] + ["shipped"]
    parser.add_argument("--row", action="append", choices=rows, help="beside the plain loop")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all measurements here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = Settings(steps=arguments.steps, batch_size=arguments.batch_size)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    tasks = []
    for name in arguments.task or ["docstrings"]:
        rows = arguments.row or rows
        found = measured(arguments.model, load_task(name), settings, arguments.rank, seeds, rows)
        print(markdown(found), end="\n\n", flush=True)
        tasks.append(found)
    about = {
        "machine": f"{platform.system()}, {torch.get_num_threads()} threads",
        "bf16_is_native": bf16_is_native(),
        "versions": jobs.versions(),
        "settings": vars(settings),
    }
    native = "native" if about["bf16_is_native"] else "emulated"
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    print(f"{about['machine']}, bf16 {native}; {versions}.")
    if arguments.json:
        report = {**about, "tasks": tasks}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
