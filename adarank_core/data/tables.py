"""Tables of texts and labels from a user's own CSV, JSONL and Parquet files."""

import csv
import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from adarank_core.data.texts import MOST_CHARACTERS, check_text
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import LIMIT, check_file, most_megabytes, parse_json, read_text
from adarank_core.limits import check_limit, limit

__all__ = ["KINDS", "read_table"]

KINDS = (".csv", ".jsonl", ".parquet")
RIGHT = "it needs the columns text and label, with commas between, and one row for every text"
MEGABYTES = 500  # yelp_polarity has 440
ROWS_PER_MEGABYTE = 10_000  # so 5 million; yelp_polarity has 1,270 a megabyte
LONGEST_LINE = 20 * MOST_CHARACTERS  # of JSON, in which a character may take 12
SHOWN_COLUMNS = 10
PARQUET_BATCH = 2**17  # rows
CSV_LIMIT = threading.Lock()  # csv has one limit for the whole process


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
        If the file cannot be read, is too large, lacks a column, or has a row without a text or a
        label.

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
    check_file(path, MEGABYTES)
    check_limit("upload_mb", path.stat().st_size / 1e6)
    if path.stat().st_size == 0:
        raise AdaRankError(f"the file {str(path)!r} is empty; {RIGHT}")
    texts, labels = readers[path.suffix.lower()](path)
    if not texts:
        raise AdaRankError(f"the file {str(path)!r} holds no rows; {RIGHT}")
    rows = [
        (_text_of(text, row, path), _label_of(label, row, path))
        for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1)
    ]
    blank = [row for row, (text, label) in enumerate(rows, start=1) if not text or not label]
    if blank:
        others = f" and in {len(blank) - 1} more" if len(blank) > 1 else ""
        raise AdaRankError(
            f"the file {str(path)!r} lacks a text or a label in row {blank[0]}{others}; "
            "fill in every row or take it out"
        )
    return pd.DataFrame(rows, columns=["text", "label"])


def _missing(value: object) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))


def _text_of(value: object, row: int, path: Path) -> str:
    if _missing(value):
        return ""
    check_text(value, f"the text in row {row} of {str(path)!r}")
    return value


def _label_of(value: object, row: int, path: Path) -> str:
    """Return a label's name; ``""`` for a missing one, ``"1"`` for ``1.0``."""
    if _missing(value):
        return ""
    what = f"the label in row {row} of {str(path)!r}"
    if isinstance(value, str):
        check_text(value, what)
        value = value.strip()
        return value.split(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", value) else value
    if not isinstance(value, int | float) or abs(value) == math.inf:
        raise AdaRankError(f"{what} is {quoted(value)}; it must be a string or a whole number")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_columns(columns: list[str], path: Path) -> None:
    counts = Counter(columns)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise AdaRankError(
            f"the file {str(path)!r} has two columns named {twice!r}; every name may come once"
        )
    if not {"text", "label"} <= set(counts):
        found = ", ".join(map(quoted, list(counts)[:SHOWN_COLUMNS]))
        more = f" and {len(counts) - SHOWN_COLUMNS:,} more" if len(counts) > SHOWN_COLUMNS else ""
        raise AdaRankError(f"the file {str(path)!r} has the columns {found}{more}; {RIGHT}")


def _numbered(rows: Iterable, path: Path) -> Iterator[tuple]:
    """Number rows from 1, refusing to go on where there are too many to hold."""
    most = _most_rows()
    for number, row in enumerate(rows, start=1):
        if number > most:
            raise _too_many(path)
        yield number, row


def _most_rows() -> int:
    most = ROWS_PER_MEGABYTE * most_megabytes(MEGABYTES)
    return int(min(most, limit("upload_texts") or math.inf))


def _most_megabytes() -> float:
    """Return how many megabytes a file may hold once it is unpacked."""
    return min(most_megabytes(MEGABYTES), limit("upload_mb") or math.inf)


def _too_many(path: Path) -> AdaRankError:
    check_limit("upload_texts", _most_rows() + 1)
    return AdaRankError(
        f"the file {str(path)!r} has more than {_most_rows():,} rows; give fewer, or raise "
        f"{LIMIT}, of which every megabyte allows {ROWS_PER_MEGABYTE:,}"
    )


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines with their ends, one by one: a list of them might be larger than memory."""
    text = read_text(path, MEGABYTES)
    found = re.finditer(r"[^\r\n]*(?:\r\n|\r|\n|\Z)", text)
    return (line[0] for line in found if line[0])


@contextmanager
def _long_cells():
    """Let csv read cells of as many characters as a text may have; its own limit is 131,072."""
    with CSV_LIMIT:
        before = csv.field_size_limit(MOST_CHARACTERS)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _read_csv(path: Path) -> tuple[list, list]:
    lines = csv.reader(_lines(path), strict=True)
    texts, labels = [], []
    try:
        with _long_cells():
            header = [name.strip() for name in next(lines, [])]
            _check_columns(header, path)
            text, label = header.index("text"), header.index("label")
            for _, cells in _numbered(lines, path):
                if not cells:  # blank lines are no rows
                    continue
                if len(cells) != len(header):
                    raise AdaRankError(
                        f"the file {str(path)!r} has {len(cells)} cells in row {len(texts) + 1} "
                        f"but {len(header)} columns; put texts that hold commas in double quotes"
                    )
                texts.append(cells[text])
                labels.append(cells[label])
    except csv.Error as error:
        raise AdaRankError(
            f"the file {str(path)!r} is not CSV at line {lines.line_num} ({error}); correct it"
        ) from None
    return texts, labels


def _read_jsonl(path: Path) -> tuple[list, list]:
    texts, labels = [], []
    columns: dict[str, None] = {}  # of the first row, and what is looked for in any
    for number, line in _numbered(_lines(path), path):
        if not line.strip():
            continue
        if len(line) > LONGEST_LINE:
            raise AdaRankError(
                f"line {number} of {str(path)!r} has {len(line):,} characters; at most "
                f"{LONGEST_LINE:,} are read"
            )
        try:
            record = parse_json(line, finite=False)
        except AdaRankError as error:
            raise AdaRankError(f"line {number} of {str(path)!r} {error}") from None
        if not isinstance(record, dict):
            raise AdaRankError(
                f"the file {str(path)!r} has no JSON object in line {number}; write one like "
                '{"text": "…", "label": "…"} a line'
            )
        columns |= dict.fromkeys(record.keys() & {"text", "label"} if texts else record)
        texts.append(record.get("text"))
        labels.append(record.get("label"))
    if texts:
        _check_columns(list(columns), path)
    return texts, labels


def _read_parquet(path: Path) -> tuple[list, list]:
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        _check_declared(metadata, path)
        # As dictionaries: a text that stands in a million rows is held once, not a million times.
        file = pyarrow.parquet.ParquetFile(
            path, metadata=metadata, read_dictionary=["text", "label"]
        )
        columns, size, most = ([], []), 0, _most_megabytes() * 1e6
        for batch in file.iter_batches(PARQUET_BATCH, columns=["text", "label"]):
            size += sum(_characters(batch[name]) for name in ("text", "label"))
            if size > most:
                raise _too_many_bytes(path)
            if len(columns[0]) + batch.num_rows > _most_rows():
                raise _too_many(path)
            for values, name in zip(columns, ("text", "label"), strict=True):
                values += _values(batch[name])
        return columns
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise AdaRankError(
            f"the file {str(path)!r} cannot be read as Parquet ({reason}); write it anew"
        ) from None


def _check_declared(metadata: pyarrow.parquet.FileMetaData, path: Path) -> None:
    """Refuse by what the file says of itself: its columns, their types, rows and decoded bytes."""
    schema = metadata.schema.to_arrow_schema()
    _check_columns(schema.names, path)
    for name in ("text", "label"):
        kind = schema.field(name).type
        kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
        if not (_is_text(kind) or pyarrow.types.is_null(kind) or pyarrow.types.is_primitive(kind)):
            raise AdaRankError(
                f"the column {name!r} of {str(path)!r} is of the type {str(kind)!r}; it must hold "
                "strings"
            )
    if metadata.num_rows > _most_rows():
        raise _too_many(path)
    columns = range(metadata.num_columns)
    wanted = [at for at in columns if metadata.schema.column(at).path in ("text", "label")]
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    sizes = (group.column(at).total_uncompressed_size for group in groups for at in wanted)
    if sum(sizes) > _most_megabytes() * 1e6:
        raise _too_many_bytes(path)


def _too_many_bytes(path: Path) -> AdaRankError:
    check_limit("upload_mb", _most_megabytes() + 0.1)
    return AdaRankError(
        f"the file {str(path)!r} unpacks to more than {most_megabytes(MEGABYTES):,g} MB; "
        f"give less, or raise {LIMIT}"
    )


def _is_text(kind: pyarrow.DataType) -> bool:
    types = pyarrow.types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _characters(column: pyarrow.Array) -> int:
    """Return the bytes of a column's texts, each counted as often as it stands there."""
    if not pyarrow.types.is_dictionary(column.type):
        return column.nbytes
    if not _is_text(column.type.value_type):
        return column.indices.nbytes
    lengths = pyarrow.compute.binary_length(column.dictionary)
    return pyarrow.compute.sum(lengths.cast("int64").take(column.indices)).as_py() or 0


def _values(column: pyarrow.Array) -> list:
    if not pyarrow.types.is_dictionary(column.type):
        return column.to_pylist()
    values = column.dictionary.to_pylist()
    return [None if index is None else values[index] for index in column.indices.to_pylist()]
