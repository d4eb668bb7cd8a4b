"""Make the finished example that every page shows before anything is computed.

Run it from the repository's root: ``python assets/make_example.py``. It takes half an hour
on two cores and writes only into ``assets/example``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent / "example"
SENTENCE = "Which layers of a language model matter most when it learns a new task?"


def main() -> None:
    """Score on all three text sources, compare four arms, and keep the small files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    EXAMPLE.mkdir(parents=True, exist_ok=True)
    sources = {
        "generic": ["--generic"],
        "task": ["--task", "docstrings"],
        "sentence": ["--sentence", SENTENCE],
    }
    trials = ["--trials", str(arguments.trials)]
    for name, flags in sources.items():
        run("score", *flags, *trials, "--json", str(EXAMPLE / f"scores-{name}.json"))
    about = {"sentence": SENTENCE, "task": "docstrings", "trials": arguments.trials}
    (EXAMPLE / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "comparison"
        arms = "uniform,adarank,permuted,ramp-up"
        flags = ["--task", "docstrings", "--arms", arms, "--average-rank", "2"]
        flags += ["--seeds", arguments.seeds, "--steps", str(arguments.steps)]
        flags += ["--side-by-side", "2"]
        run("compare", *flags, "--output", str(output))
        kept = EXAMPLE / "comparison"
        kept.mkdir(exist_ok=True)
        for file in ("config.json", "events.jsonl", "verdict.json"):
            shutil.copyfile(output / file, kept / file)


def run(*arguments: str) -> None:
    """Run one command of the core, as a user would."""
    subprocess.run([sys.executable, "-m", "adarank_core", *arguments], check=True)


if __name__ == "__main__":
    main()
