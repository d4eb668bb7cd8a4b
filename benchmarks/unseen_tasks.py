"""Make two tasks that nothing in this project was tried on, to confirm on.

Run it from the repository's root: ``python benchmarks/unseen_tasks.py --output DIR --e2e FOLDER``
with the E2E data set as Parquet (``prompt``, ``response``). It writes two folders for
`load_task`:

- ``restaurant_prices``: which of six price ranges does a sentence about a restaurant speak of? The
  label is in the prompt that the sentence was written from.
- ``sciences``: which of five subjects is a docstring about? As the embedded task, of libraries that
  the embedded task does not read.
"""

import argparse
import sys
from pathlib import Path
from unittest import mock

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core.data import docstrings
from adarank_core.data.task import SPLITS

SCIENCES = {
    "algebra": ("sympy mpmath", ""),
    "graphs": ("networkx", ""),
    "numerics": ("scipy", ""),
    "arrays": ("numpy", ""),
    "statistics": ("statsmodels", ""),
}
PRICE = r"priceRange\[([^\]]*)\]"


def restaurant_prices(rows: pd.DataFrame) -> pd.DataFrame:
    """Return sentences and the price range that each was asked to speak of.

    Examples
    --------
    >>> rows = pd.DataFrame({"prompt": ["name[A], priceRange[cheap]"], "response": ["A is cheap."]})
    >>> restaurant_prices(rows).values.tolist()
    [['A is cheap.', 'cheap']]
    """
    labels = rows["prompt"].str.extract(PRICE)[0]
    return pd.DataFrame({"text": rows["response"], "label": labels}).dropna()


def sciences() -> dict[str, pd.DataFrame]:
    """Return docstrings of scientific libraries and their subjects, by split."""
    with mock.patch.object(docstrings, "SUBJECTS", SCIENCES):
        table = docstrings.build_docstrings()
    return {split: table.loc[table["split"] == split, ["text", "label"]] for split in SPLITS}


def main() -> None:
    """Write both tasks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--e2e", type=Path, required=True, help="with its Parquet files")
    given = parser.parse_args()
    e2e = {split: pd.read_parquet(given.e2e / f"{split}.parquet") for split in SPLITS}
    made = {
        "restaurant_prices": {split: restaurant_prices(rows) for split, rows in e2e.items()},
        "sciences": sciences(),
    }
    for name, splits in made.items():
        (given.output / name).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            rows.to_csv(given.output / name / f"{split}.csv", index=False)
            print(name, split, rows["label"].value_counts().to_dict(), flush=True)


if __name__ == "__main__":
    main()
