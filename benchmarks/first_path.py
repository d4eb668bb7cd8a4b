"""How long a person waits on the first path, measured on this machine.

Run it from the repository's root: ``python benchmarks/first_path.py``. It prints a table in
Markdown, and writes every single measurement with ``--json PATH``. What a browser waits for is
measured by ``app.py``.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the library is used where it lies, not installed

from adarank_core.runs.jobs import versions  # noqa: E402

SENTENCE = "Which layers of a language model matter most when it learns a new task?"


def one_sentence(repeats: int) -> list[float]:
    """One sentence scored on all modules at 5 trials, the model being loaded."""
    import adarank_core as ar

    bundle = ar.load_model("embedded")
    seconds = []
    for seed in range(repeats):
        started = time.perf_counter()
        ar.score(bundle, ar.sentence(SENTENCE), trials=5, seed=seed)
        seconds.append(time.perf_counter() - started)
    return seconds


def corpus(repeats: int) -> list[float]:
    """The docstrings task built from nothing, with the start of Python."""
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as home:
            seconds.append(finished("-c", LOAD_DOCSTRINGS, home=home))
    return seconds


def fine_tune(repeats: int) -> list[float]:
    """150 optimizer steps of docstrings at batch 32, LoRA of rank 8 on all modules."""
    seconds = []
    with tempfile.TemporaryDirectory() as home:
        finished("-c", LOAD_DOCSTRINGS, home=home)
        for seed in range(repeats):
            result = Path(home) / f"result-{seed}.json"
            finished(
                *("-m", "adarank_core", "finetune", "--task", "docstrings"),
                *("--uniform-rank", "8", "--steps", "150", "--batch-size", "32"),
                *("--seed", str(seed), "--json", str(result)),
                home=home,
            )
            seconds.append(json.loads(result.read_text(encoding="utf-8"))["train_seconds"])
    return seconds


LOAD_DOCSTRINGS = "import adarank_core as ar; ar.load_task('docstrings')"
ROWS: dict[str, Callable[[int], list[float]]] = {
    "one-sentence": one_sentence,
    "corpus": corpus,
    "fine-tune": fine_tune,
}


def main() -> None:
    """Measure the rows that are asked for, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=ROWS, help="may be given several times")
    parser.add_argument("--repeats", type=int, default=3, help="measurements a row (default 3)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all measurements here")
    arguments = parser.parse_args()
    rows = {}
    for name in arguments.only or ROWS:
        print(f"measuring {name} …", file=sys.stderr)
        what = ROWS[name].__doc__
        rows[name] = {"what": what, "seconds": ROWS[name](arguments.repeats)}
    report = {"machine": machine(), "versions": versions(), "rows": rows}
    print(markdown(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def markdown(report: dict) -> str:
    """Return a report as a table, with the machine and the versions under it."""
    lines = ["| what | median | lowest to highest | times |", "|---|---|---|---|"]
    for row in report["rows"].values():
        what, seconds = row["what"].rstrip("."), row["seconds"]
        middle = f"{statistics.median(seconds):.1f} s"
        spread = f"{min(seconds):.1f} to {max(seconds):.1f} s"
        lines.append(f"| {what} | {middle} | {spread} | {len(seconds)} |")
    machine = "{cores} cores, {processor}, {system}".format(**report["machine"])
    packages = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return "\n".join([*lines, "", f"Machine: {machine}.", f"Versions: {packages}."])


def machine() -> dict:
    """Return what kind of machine this is: nothing that names it."""
    models = []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return {"cores": os.cpu_count(), "processor": processor, "system": platform.system()}


def python(*arguments: str, home: str) -> subprocess.Popen:
    """Start Python in the repository with a home of its own for caches and runs."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "ADARANK_HOME": home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def finished(*arguments: str, home: str) -> float:
    """Run Python to its end and return the seconds it took."""
    started = time.perf_counter()
    if python(*arguments, home=home).wait():
        raise SystemExit(f"python {' '.join(arguments)} failed")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
