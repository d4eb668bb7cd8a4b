"""Reading a user's own table: what is read, and the one sentence for what cannot be."""

import csv
import json

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core.data.tables import read_table
from adarank_core.errors import AdaRankError

PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


def written(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


def refusal(file):
    with pytest.raises(AdaRankError) as caught:
        read_table(file)
    message = str(caught.value)
    assert str(file) in message and "\n" not in message and "Traceback" not in message
    return message


@given(rows=st.lists(st.tuples(PRINTABLE, st.integers(-9, 99)), min_size=1))
def test_the_three_kinds_of_file_give_the_same_table(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("kinds")
    with (folder / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    lines = [json.dumps({"label": label, "text": text}) for text, label in rows]
    (folder / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pd.DataFrame(rows, columns=["text", "label"]).to_parquet(folder / "a.parquet")
    expected = [(text, str(label)) for text, label in rows]
    for kind in ("csv", "jsonl", "parquet"):
        table = read_table(folder / f"a.{kind}")
        assert list(table.itertuples(index=False, name=None)) == expected, kind


def test_csv_cells_stay_text(tmp_path):
    file = written(tmp_path, "a.csv", "text,label\nNA,null\nNone,NaN\n1.50,1.0\n")
    assert read_table(file).to_numpy().tolist() == [["NA", "null"], ["None", "NaN"], ["1.50", "1"]]


def test_a_byte_order_mark_other_columns_and_blank_lines_are_accepted(tmp_path):
    file = written(tmp_path, "a.csv", '\ufeffid, text ,label\n1,"a, b",x\n\n2,c,y\n')
    assert read_table(file).to_numpy().tolist() == [["a, b", "x"], ["c", "y"]]
    file = written(tmp_path, "a.jsonl", '\ufeff{"text": "a", "label": true}\r\n\r\n')
    assert read_table(file).to_numpy().tolist() == [["a", "True"]]


def test_a_long_cell_is_csv_and_the_limit_of_others_stays(tmp_path):
    before = csv.field_size_limit()
    file = written(tmp_path, "a.csv", f"text,label,more\n{'x' * 150_000},a,{'y' * 150_000}\n")
    assert read_table(file)["text"].tolist() == ["x" * 150_000]
    refusal(written(tmp_path, "b.csv", f"text,label\n{'x' * 1_000_001},a\n"))
    assert csv.field_size_limit() == before


def test_lines_may_end_in_any_of_three_ways(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        file = written(tmp_path, "a.csv", end.join(["text,label", f'"a{end}b",x', "c\u2028d,y"]))
        assert read_table(file).to_numpy().tolist() == [[f"a{end}b", "x"], ["c\u2028d", "y"]]


def test_categories_nulls_and_large_strings_of_parquet_are_read(tmp_path):
    texts = pyarrow.array(["a", "b", "a", "c"], pyarrow.large_string())
    labels = pyarrow.array(["x", "y", "x", "y"]).dictionary_encode()
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "label": labels}), file)
    assert read_table(file).to_numpy().tolist() == [["a", "x"], ["b", "y"], ["a", "x"], ["c", "y"]]
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Categorical([3, 1])})
    frame.to_parquet(file)
    assert read_table(file).to_numpy().tolist() == [["a", "3"], ["b", "1"]]


@pytest.mark.parametrize("label", [1, 1.0, "1", "1.0", " 1 "])
def test_whole_numbers_are_one_label_however_they_are_written(tmp_path, label):
    file = written(tmp_path, "a.jsonl", json.dumps({"text": "a", "label": label}))
    assert read_table(file)["label"].tolist() == ["1"]


def test_rows_without_text_or_label_are_counted_and_the_first_is_named(tmp_path):
    good = "\n".join(f"text {row},x" for row in range(1, 7))
    assert "row 7;" in refusal(written(tmp_path, "a.csv", f"text,label\n{good}\n  ,x\n"))
    message = refusal(written(tmp_path, "a.csv", f"text,label\n{good}\n  ,x\nlast,\n,\n"))
    assert "row 7 and in 2 more;" in message
    for line in ('{"text": null, "label": 1}', '{"text": "a"}', '{"text": "a", "label": NaN}'):
        assert "row 2;" in refusal(
            written(tmp_path, "a.jsonl", '{"text": "a", "label": 1}\n' + line)
        )
    pd.DataFrame({"text": ["a", None], "label": [1.0, None]}).to_parquet(tmp_path / "a.parquet")
    assert "row 2;" in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.jsonl", "\n\n", "holds no rows"),
        ("a.csv", "text;label\na;b\n", "'text;label'"),
        ("a.csv", "sentence,label\na,b\n", "'sentence', 'label'"),
        ("a.jsonl", '{"text": "a", "class": 1}', "'text', 'class'"),
        ("a.csv", "text,label,text\na,b,c\n", "two columns named 'text'"),
        ("a.csv", "text,label\na,b\nc, d,e\n", "3 cells in row 2"),
        ("a.csv", "text,label\na\n", "1 cells in row 1"),
        ("a.csv", 'text,label\n"a,b\n', "not CSV at line 2"),
        ("a.csv", b"text,label\ncaf\xe9,b\n", "byte 14"),
        ("a.csv", b"\xef\xbb\xbftext,label\ncaf\xe9,b\n", "byte 17"),
        ("a.jsonl", b'{"text": "\xff"}', "byte 10"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2"),
        ("a.jsonl", "[1, 2]", "line 1"),
        ("a.jsonl", "[" * 100_000, "line 1"),
        ("a.jsonl", '{"text": 5, "label": 1}', "is 5; it must be a string"),
        ("a.jsonl", '{"text": "\\ud83d", "label": 1}', "in row 1"),
        ("a.jsonl", '{"text": "a", "label": [1]}', "is [1]; it must be a string"),
        ("a.parquet", "PAR1 and nothing more PAR1", "Parquet"),
        ("a.txt", "text", "'.txt'"),
        ("a.pkl", "text", ".csv, .jsonl, .parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, name, content, part):
    assert part in refusal(written(tmp_path, name, content))


def test_parquet_without_the_columns_or_rows_is_refused(tmp_path):
    pd.DataFrame({"text": ["a"], "kind": [1]}).to_parquet(tmp_path / "a.parquet")
    assert "'text', 'kind'" in refusal(tmp_path / "a.parquet")
    pd.DataFrame({"text": [], "label": []}).to_parquet(tmp_path / "a.parquet")
    assert "holds no rows" in refusal(tmp_path / "a.parquet")


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "a.csv")


def test_a_parquet_cut_short_is_refused(tmp_path):
    whole = tmp_path / "whole.parquet"
    pd.DataFrame({"text": [f"text {i}" for i in range(99)], "label": 1}).to_parquet(whole)
    written(tmp_path, "a.parquet", whole.read_bytes()[:-50])
    assert "Parquet" in refusal(tmp_path / "a.parquet")
