"""Make the finished examples that the page Lab shows before anything is run.

Run it from the repository's root: ``python assets/make_lab.py`` does every study with its defaults
on the embedded model, which takes up to two minutes each on two cores that do nothing else;
``python assets/make_lab.py noise reset`` does these alone. It writes only into ``assets/lab``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "assets" / "lab"
DIGITS = 4  # that are kept of a number: no picture shows more


def main() -> None:
    """Do each study as a user would, and keep what it comes to, with few digits."""
    sys.path.insert(0, str(ROOT))
    from adarank_core.lab.studies import STUDIES

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", help=f"of {', '.join(STUDIES)}; all if none is given")
    names = parser.parse_args().studies or list(STUDIES)
    LAB.mkdir(exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.json"
            words = ["lab", name, "--output", str(Path(folder) / "run"), "--json", str(result)]
            subprocess.run([sys.executable, "-m", "adarank_core", *words], check=True)
            kept = json.loads(result.read_text(encoding="utf-8"))
        kept["rows"] = [{key: rounded(cell) for key, cell in row.items()} for row in kept["rows"]]
        text = json.dumps(kept, ensure_ascii=False) + "\n"
        (LAB / f"{name}.json").write_text(text, encoding="utf-8")


def rounded(cell):
    """Return a cell of a row with few digits.

    Examples
    --------
    >>> rounded(0.123456), rounded(True), rounded("gaussian")
    (0.1235, True, 'gaussian')
    """
    return float(f"{cell:.{DIGITS}g}") if isinstance(cell, float) else cell


if __name__ == "__main__":
    main()
