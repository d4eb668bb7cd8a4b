"""Tables of texts and labels from a user's own CSV, JSONL and Parquet files."""

import csv
import io
import json
import math
import re
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet

from adarank_core.errors import AdaRankError

__all__ = ["KINDS", "read_table"]

KINDS = (".csv", ".jsonl", ".parquet")
RIGHT = "it needs the columns text and label, and one row for every text"


def read_table(path: str | Path) -> pd.DataFrame:
    """Read the columns ``text`` and ``label`` of a CSV, JSONL or Parquet file.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV and JSONL must be UTF-8, with or without a byte order mark. In CSV every cell is text:
        ``NA`` and ``null`` mean themselves.

    Returns
    -------
    pandas.DataFrame
        Columns ``text`` and ``label``, strings that are not blank; the label ``1.0`` is ``"1"``.
        Other columns are left out.

    Raises
    ------
    AdaRankError
        If the file cannot be read, lacks a column, or has a row without a text or a label.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "moods.jsonl"
    >>> _ = file.write_text('{"text": "I am glad.", "label": 1}', encoding="utf-8")
    >>> read_table(file).to_dict("records")
    [{'text': 'I am glad.', 'label': '1'}]
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise AdaRankError(
            f"the file {str(path)!r} ends in {path.suffix!r}; it must end in {', '.join(KINDS)}"
        )
    try:
        if path.stat().st_size == 0:
            raise AdaRankError(f"the file {str(path)!r} is empty; {RIGHT}")
        texts, labels = readers[path.suffix.lower()](path)
    except OSError as error:
        raise AdaRankError(
            f"the file {str(path)!r} cannot be read ({error.strerror or error}); give another"
        ) from None
    if not texts:
        raise AdaRankError(f"the file {str(path)!r} holds no rows; {RIGHT}")
    rows = [
        (_text_of(text, row, path), _label_of(label, row, path))
        for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1)
    ]
    blank = [
        row for row, (text, label) in enumerate(rows, start=1) if not text.strip() or not label
    ]
    if blank:
        others = f" and in {len(blank) - 1} more" if len(blank) > 1 else ""
        raise AdaRankError(
            f"the file {str(path)!r} lacks a text or a label in row {blank[0]}{others}; "
            "fill in every row or take it out"
        )
    return pd.DataFrame(rows, columns=["text", "label"])


def _text_of(value: object, row: int, path: Path) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    try:
        value.encode("utf-8")
    except (AttributeError, UnicodeEncodeError):  # a number; half a character, written as \ud83d
        raise AdaRankError(
            f"the file {str(path)!r} has the text {value!r} in row {row}; it must be a string"
        ) from None
    return value


def _label_of(value: object, row: int, path: Path) -> str:
    """Return a label's name; ``""`` for a missing one, ``"1"`` for ``1.0``."""
    if isinstance(value, str):
        value = value.strip()
        return value.split(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", value) else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, int | float):
        raise AdaRankError(
            f"the file {str(path)!r} has the label {value!r} in row {row}; it must be a string or "
            "a whole number"
        )
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_columns(columns: list[str], path: Path) -> None:
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise AdaRankError(
            f"the file {str(path)!r} has two columns named {twice[0]!r}; every name may come once"
        )
    if not {"text", "label"} <= set(columns):
        found = ", ".join(map(repr, columns))
        raise AdaRankError(f"the file {str(path)!r} has the columns {found}; {RIGHT}")


def _decoded(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise AdaRankError(
            f"the file {str(path)!r} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


def _read_csv(path: Path) -> tuple[list, list]:
    lines = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    texts, labels = [], []
    try:
        header = [name.strip() for name in next(lines, [])]
        _check_columns(header, path)
        text, label = header.index("text"), header.index("label")
        for cells in filter(None, lines):  # blank lines are no rows
            if len(cells) != len(header):
                raise AdaRankError(
                    f"the file {str(path)!r} has {len(cells)} cells in row {len(texts) + 1} but "
                    f"{len(header)} columns; put texts that hold commas in double quotes"
                )
            texts.append(cells[text])
            labels.append(cells[label])
    except csv.Error as error:
        raise AdaRankError(
            f"the file {str(path)!r} is not CSV at line {lines.line_num} ({error}); correct it"
        ) from None
    return texts, labels


def _read_jsonl(path: Path) -> tuple[list, list]:
    records = []
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise AdaRankError(
                f"the file {str(path)!r} has no JSON object in line {number}; write one like "
                '{"text": "…", "label": "…"} a line'
            )
        records.append(record)
    if records:
        _check_columns(list(dict.fromkeys(key for record in records for key in record)), path)
    return [record.get("text") for record in records], [record.get("label") for record in records]


def _read_parquet(path: Path) -> tuple[list, list]:
    try:
        file = pyarrow.parquet.ParquetFile(path)
        _check_columns(file.schema_arrow.names, path)
        table = file.read(columns=["text", "label"])
        return table["text"].to_pylist(), table["label"].to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise AdaRankError(
            f"the file {str(path)!r} cannot be read as Parquet ({reason}); write it anew"
        ) from None
