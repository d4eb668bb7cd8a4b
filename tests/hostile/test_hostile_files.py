"""Broken and hostile files, folders and texts: each is refused soon, in one sentence.

One line a case: what is made, who reads it, and a part of the sentence.
"""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from adarank_core import AdaRankError, ModuleScore, Scores, Texts, sentence, texts_from_file
from adarank_core.comparison.arms import check_arms, file_name
from adarank_core.comparison.compare import read_request
from adarank_core.data import tables
from adarank_core.data.tables import read_table
from adarank_core.data.tasks import load_task
from adarank_core.data.texts import as_texts
from adarank_core.files import cache_folder, read_json, runs_folder
from adarank_core.ranks.plan_files import read_plan
from adarank_core.ranks.plans import HIGHEST_RANK, RankPlan
from adarank_core.ranks.portable import portable

SECONDS = 10  # generous for a busy machine; most cases take milliseconds
ROWS = b"".join(b"text number %d,%s\n" % (row, (b"no", b"yes")[row % 2]) for row in range(90))
CSV = b"text,label\n" + ROWS


@pytest.fixture(autouse=True)
def in_time():
    def late(*_):
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(call, *arguments):
    with pytest.raises(AdaRankError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable() and 10 < len(message) <= 1000
    message.encode("utf-8")
    return message


def written(folder, name, content):
    file = folder / name
    content = content() if callable(content) else content
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


# Things that are no plain file -------------------------------------------------------------------


def socket_at(path, folder):
    here = os.getcwd()  # noqa: PTH109 (a socket's path may have 107 bytes)
    os.chdir(folder)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)


NO_FILES = {
    "missing": (lambda path: None, "No such file"),
    "folder": (lambda path: path.mkdir(), "it is a folder"),
    "pipe": (lambda path: os.mkfifo(path), "it is a named pipe"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "it is a device"),
    "socket": (lambda path: socket_at(path, path.parent), "it is a socket"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "Too many levels"),
    "terabyte": (lambda path: sparse(path, 10**12), "MB are read, and ADARANK_MAX_FILE_MB raises"),
}
READERS = {
    "x.json": read_json,
    "x.txt": texts_from_file,
    "x.csv": read_table,
    "x.jsonl": read_table,
    "x.parquet": read_table,
    "ranks.json": read_plan,
    "arm.json": lambda path: file_name(str(path)),
    "plan.json": lambda path: check_arms([str(path)], [0]),
    "comparison.json": lambda path: read_request(path.parent, ["uniform"], [0]),
    "adapter_config.json": lambda path: portable(path.parent, path.parent / "portable"),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_plain_file_is_never_opened(tmp_path, name, kind):
    make, part = NO_FILES[kind]
    make(tmp_path / name)
    assert part in refusal(READERS[name], tmp_path / name)


def test_what_becomes_a_pipe_while_one_looks_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("adarank_core.files.check_file", lambda path, usual: None)
    os.mkfifo(tmp_path / "x.json")
    assert "is not valid JSON" in refusal(read_json, tmp_path / "x.json")


@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind not in ("missing",)])
def test_a_split_that_is_no_plain_file(tmp_path, kind):
    written(tmp_path, "test.csv", CSV)
    make, _ = NO_FILES[kind]
    make(tmp_path / "train.csv")
    assert "train" in refusal(load_task, tmp_path)


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_meta_file_that_is_no_plain_file_is_passed_over(tmp_path, kind):
    make, _ = NO_FILES[kind]
    make(tmp_path / "meta.json")
    assert load_task(written(tmp_path, "x.csv", CSV)).label_names == ("no", "yes")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "caf\udce9", "\x1b[31mred", "/" * 300])
@pytest.mark.parametrize(
    "reader", [read_json, texts_from_file, read_table, load_task, read_plan, file_name]
)
def test_names_that_no_file_has(reader, name):
    refusal(reader, name)


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-1", "0", "1e999"])
def test_a_limit_that_is_no_number(tmp_path, monkeypatch, value):
    monkeypatch.setenv("ADARANK_MAX_FILE_MB", value)
    assert "ADARANK_MAX_FILE_MB is " in refusal(read_json, written(tmp_path, "x.json", "{}"))


def test_the_limit_can_be_raised_but_not_lowered(tmp_path, monkeypatch):
    file = written(tmp_path, "x.txt", (b"words " * 100_000 + b"\n") * 40)
    assert "has 24.0 MB; at most 20 MB" in refusal(texts_from_file, file)
    monkeypatch.setenv("ADARANK_MAX_FILE_MB", "25")
    assert len(texts_from_file(file)) == 40
    monkeypatch.setenv("ADARANK_MAX_FILE_MB", "0.001")
    file.write_text("words\n" * 1000, encoding="utf-8")
    assert len(texts_from_file(file)) == 1000


# JSON --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        (b"\x00\x01\x02\x03", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b'{"a": "\xe9"}', "is not valid JSON"),
        ("{'a': 1}", "is not valid JSON"),
        ('{"a": 1}{"a": 1}', "is not valid JSON"),
        ("[" * 10**6, "is not valid JSON"),
        ('{"a":' * 10**5, "is not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"a": 1, "a": 2}', "names 'a' twice"),
        ('{"b": [{"a": 1, "a": 1}]}', "names 'a' twice"),
        ('{"\\u001b[2J": 1, "\\u001b[2J": 1}', r"names '\x1b[2J' twice"),
        ('{"a": NaN}', "gives 'a' as nan"),
        ('{"a": {"b": Infinity}}', "gives 'b' as inf"),
        ('{"a": -Infinity}', "gives 'a' as -inf"),
        ('{"a": 1e999}', "gives 'a' as inf"),
        ('{"a": [1, [2, NaN]]}', "gives 'a' as nan"),
        ("[" * 101 + "]" * 101, "is nested more than 100 deep"),
        ('{"a":' * 700 + "1" + "}" * 700, "is nested more than 100 deep"),
        ('{"' + "k" * 10**6 + '": NaN}', "every number must be finite"),
    ],
    ids=range(21),
)
def test_json(tmp_path, content, part):
    assert part in refusal(read_json, written(tmp_path, "x.json", content))


def good_scores(modules=2):
    listed = tuple(ModuleScore(f"layer.{at}", at, "query", 8, 8, 0.5, 0.1) for at in range(modules))
    texts = {"source": "list", "count": 1, "sha256": "00"}
    return Scores("tiny", "paper", "paired", 1.0, 0, texts, listed, trials=4).to_dict()


MISSING = object()
NOT_A_NUMBER, HUGE = float("nan"), 10**400


WRONG_SCORES = [
    ("format", None),
    ("format", {}),
    ("format", "x" * 10**6),
    ("model", None),
    ("model", []),
    ("model", {"a": 1}),
    ("model", 3),
    ("model", ""),
    ("model", "caf\udce9"),
    ("mode", None),
    ("estimator", 5),
    ("estimator", "\udce9"),
    ("noise_scale", NOT_A_NUMBER),
    ("noise_scale", float("inf")),
    ("noise_scale", -1.0),
    ("noise_scale", "1"),
    ("noise_scale", True),
    ("noise_scale", HUGE),
    ("seed", NOT_A_NUMBER),
    ("seed", 1.5),
    ("seed", HUGE),
    ("seed", 10**5000),
    ("seed", False),
    ("trials", NOT_A_NUMBER),
    ("trials", -3),
    ("trials", 2.5),
    ("trials", "4"),
    ("logits", "some"),
    ("logits", None),
    ("task_type", "X"),
    ("task_type", []),
    ("texts", None),
    ("texts", []),
    ("texts", {"source": 3}),
    ("texts", {"count": -1}),
    ("texts", {"count": NOT_A_NUMBER}),
    ("texts", {"sha256": None}),
    ("modules", None),
    ("modules", {}),
    ("modules", []),
    ("modules", "x"),
    ("modules", [None]),
    ("modules", [[]]),
    ("modules", ["x" * 10**6]),
    *((key, MISSING) for key in good_scores() if key != "trials"),
]


@pytest.mark.parametrize(("key", "value"), WRONG_SCORES, ids=range(len(WRONG_SCORES)))
def test_scores(key, value):
    data = {**good_scores(), key: value}
    if value is MISSING:
        del data[key]
    message = refusal(Scores.from_dict, data)
    assert key in message or key.removesuffix("s") in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", 3),
        ("name", "layer.\udce9"),
        ("layer", -1),
        ("layer", 1.0),
        ("layer", HUGE),
        ("family", []),
        ("in_features", 0),
        ("in_features", HUGE),
        ("out_features", -5),
        ("out_features", "8"),
        ("score", NOT_A_NUMBER),
        ("score", HUGE),
        ("score", -0.5),
        ("score", True),
        ("standard_error", float("inf")),
        ("standard_error", None),
        ("score", MISSING),
    ],
    ids=range(19),
)
def test_a_module_of_the_scores(key, value):
    data = good_scores()
    data["modules"][1][key] = value
    if value is MISSING:
        del data["modules"][1][key]
    message = refusal(Scores.from_dict, data)
    assert repr(key) in message and "module 2 of the scores" in message


def test_a_hundred_thousand_modules_are_read_and_one_wrong_one_is_found(tmp_path):
    data = good_scores(100_000)
    file = written(tmp_path, "x.json", json.dumps(data))
    assert len(Scores.from_dict(read_json(file)).modules) == 100_000
    data["modules"][77_776]["score"] = -1.0
    assert "module 77777 of the scores is -1.0" in refusal(Scores.from_dict, data)
    data["modules"] = [{}] * 10_000_000
    assert "'name' is missing from module 1" in refusal(Scores.from_dict, data)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("ranks", {f"{at}": -1 for at in range(10**6)}, "'0' of 'ranks' of the ranks is -1; it"),
        ("ranks", {f"{at}": 1 for at in range(10**6 + 1)}, "should have at most 1000000 items"),
        ("ranks", {"a": HIGHEST_RANK + 1}, "it must be less than or equal to 1000000"),
        ("ranks", {"": 1}, "'' of 'ranks' of the ranks is ''"),
        ("ranks", {"caf\udce9": 1}, "it must be a valid string"),
        ("ranks", {"a": 4, "b": 4}, "have no alpha for 'b'; give every module its own"),
        ("alpha", {"a": 10**300}, "'a' of 'alpha' of the ranks is 1000"),
        ("alpha", {"a": -1e-9}, "it must be greater than or equal to 0"),
        ("model", "", "'model' of the ranks is ''"),
        ("model", "caf\udce9", "'model' of the ranks is 'caf"),
        ("scores_sha256", None, "'scores_sha256' of the ranks is None; it must be a valid string"),
        ("task_type", "X", "'task_type' of the ranks is 'X'; it must be 'SEQ_CLS'"),
        ("budget", {"by": "luck"}, "'by' of 'budget' of the ranks is 'luck'; it must be 'rank'"),
        ("budget", {"requested": "8"}, "'requested' of 'budget' of the ranks is '8'; it must be"),
        ("budget", {"average_rank": NOT_A_NUMBER}, "is nan; it must be a finite number"),
        ("budget", {"units": {"all": [NOT_A_NUMBER]}}, "'budget' of the ranks holds what JSON"),
        ("budget", {"units": "\ud83d"}, "'budget' of the ranks holds what JSON cannot"),
    ],
    ids=range(17),
)
def test_ranks(key, value, part):
    data = RankPlan("tiny", {"a": 4}, {"a": 8}).to_dict()
    assert part in refusal(RankPlan.from_dict, {**data, key: value})


# Texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "argument", "part"),
    [
        (sentence, "caf\udce9", r"'caf\udce9', which is not UTF-8 (character 4)"),
        (sentence, "\ud83d", "is not UTF-8"),
        (sentence, "x" * 20_000_000, "has 20,000,000 characters; give at most 1,000,000"),
        (sentence, " " * 900_000, "has no words"),
        (sentence, "", "has no words"),
        (sentence, None, "must be a string"),
        (sentence, b"bytes", "must be a string"),
        (sentence, 10**5000, "too large to show"),
        (as_texts, 3, "give a list of strings"),
        (as_texts, None, "give a list of strings"),
        (as_texts, [], "is empty"),
        (as_texts, ["good", "caf\udce9"], "text 2 is"),
        (as_texts, ["x" * 1_000_001], "text 1 has 1,000,001 characters"),
        (as_texts, b"ab", "text 1 is 97"),
        (as_texts, [["a"] * 10**6], "text 1 is ["),
        (lambda name: Texts(name, ("good",)), "caf\udce9.txt", "the name of the text source"),
        (lambda name: Texts(name, ("good",)), None, "the name of the text source"),
    ],
    ids=range(17),
)
def test_texts(call, argument, part):
    assert part in refusal(call, argument)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "holds no text"),
        (b"\n \n\t\n", "holds no text"),
        (b"\xef\xbb\xbf", "holds no text"),
        (b"caf\xe9", "is not UTF-8 (byte 3)"),
        ("ä".encode("utf-16"), "is not UTF-8 (byte 0)"),
        (b"good\n" + b"x" * 19_000_000, "text 2 has 19,000,000 characters"),
        (b"\xed\xa0\xbd", "is not UTF-8 (byte 0)"),
    ],
    ids=range(7),
)
def test_text_files(tmp_path, content, part):
    assert part in refusal(texts_from_file, written(tmp_path, "x.txt", content))


# Tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("x.csv", b"\x00" * 1000, "has the columns"),
        ("x.csv", b"text;label\na;b\n", "'text;label'"),
        ("x.csv", "text,label\na,b\n".encode("utf-16"), "is not UTF-8 (byte 0)"),
        ("x.csv", b"text,label\ncaf\xe9,b\n", "is not UTF-8 (byte 14)"),
        ("x.csv", b"text,label\n" + b"x" * 1_000_001 + b",a\n", "is not CSV at line 2"),
        ("x.csv", b'text,label\n"' + b"\n" * 2_000_000, "is not CSV at line"),
        ("x.csv", b"\n" * 60_000, "has the columns"),
        ("x.csv", b"text,label\n" + b"\n" * 60_000, "more than 50,000 rows"),
        ("x.csv", b"text,label\n" + b"a,b\n" * 60_000, "more than 50,000 rows"),
        ("x.csv", b"c," * 200_000 + b"text,label\n", "two columns named 'c'"),
        ("x.csv", b",".join(b"c%d" % at for at in range(200_000)), "and 199,990 more"),
        ("x.csv", b"text,label\n" + b"," * 200_000 + b"\n", "200001 cells in row 1"),
        ("x.csv", b"text,label\na," + b"y" * 2000 + b"\nb,z\n", None),
        ("x.jsonl", b'{"text": "a", "label": "b", "label": "c"}', "names 'label' twice"),
        ("x.jsonl", b'{"text": "a", "label": Infinity}', "is inf; it must be a string"),
        ("x.jsonl", b'{"text": "a", "label": 1e999}', "is inf; it must be a string"),
        ("x.jsonl", b'{"text": "\\ud83d", "label": 1}', "is not UTF-8 (character 1)"),
        ("x.jsonl", b'{"text": "a", "label": "\\ud83d"}', "is not UTF-8 (character 1)"),
        ("x.jsonl", b'{"text": ["a"], "label": 1}', "must be a string"),
        ("x.jsonl", b'{"text": {"a": 1}, "label": 1}', "must be a string"),
        ("x.jsonl", b'{"text": "a", "label": {"a": 1}}', "must be a string or a whole number"),
        ("x.jsonl", b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "line 1"),
        ("x.jsonl", b'{"text": "a", "label": ' + b"[" * 10**6, "line 1"),
        ("x.jsonl", b'{"text": "' + b"x" * 1_000_001 + b'", "label": 1}', "1,000,001 characters"),
        ("x.jsonl", lambda: b'{"text": "' + b"x" * 100_000_000, "line 1 of"),
        ("x.jsonl", b"\n" * 60_000, "more than 50,000 rows"),
        ("x.jsonl", json.dumps({f"c{at}": 1 for at in range(10**5)}), "and 99,990 more"),
        ("x.jsonl", b"null\n", "no JSON object in line 1"),
        ("x.parquet", b"PAR1" * 1000, "as Parquet"),
        ("x.parquet", b"text,label\na,b\n", "as Parquet"),
        ("x.CSV.gz", b"\x1f\x8b", "ends in '.gz'"),
    ],
    ids=range(31),
)
def test_tables(tmp_path, monkeypatch, name, content, part):
    monkeypatch.setattr(tables, "ROWS_PER_MEGABYTE", 100)
    file = written(tmp_path, name, content)
    if part is None:
        read_table(file)
    else:
        assert part in refusal(read_table, file)


def parquet(file, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), file, compression="zstd")
    return file


def repeated(value, rows):
    """One value in as many rows, in a file of a few bytes."""
    places = pyarrow.array(np.zeros(rows, dtype=np.int32))
    return pyarrow.DictionaryArray.from_arrays(places, pyarrow.array([value]))


@pytest.mark.parametrize(
    ("text", "label", "part"),
    [
        (repeated("x" * 10**6, 10**6), repeated("a", 10**6), "unpacks to more than 500 MB"),
        (repeated("a", 10**6), repeated("x" * 10**6, 10**6), "unpacks to more than 500 MB"),
        (repeated("x" * 1_000_001, 2), repeated("a", 2), "1,000,001 characters"),
        (repeated("a", 5_000_001), repeated("b", 5_000_001), "more than 5,000,000 rows"),
        (pyarrow.nulls(5_000_001), pyarrow.nulls(5_000_001), "more than 5,000,000 rows"),
        (pyarrow.array(["x" * 900_000] * 600), [1] * 600, "unpacks to more than 500 MB"),
        (pyarrow.array([["a"]]), ["b"], "the column 'text' of"),
        (pyarrow.array([{"text": "a"}]), ["b"], "the column 'text' of"),
        (["a"], pyarrow.array([{"label": 1}]), "the column 'label' of"),
        (pyarrow.array([b"a"]), ["b"], "must hold strings"),
        ([1], ["b"], "must be a string"),
        (["a"], [float("inf")], "is inf"),
        ([None], [None], "lacks a text or a label in row 1"),
    ],
    ids=range(13),
)
def test_parquet_files(tmp_path, text, label, part):
    before = pyarrow.total_allocated_bytes()
    assert part in refusal(read_table, parquet(tmp_path / "x.parquet", text=text, label=label))
    assert pyarrow.total_allocated_bytes() - before < 10**8


def test_parquet_bombs_are_refused_before_they_unpack(tmp_path):
    """The arrow memory that is held at most while a terabyte is read, in a process of its own."""
    bomb = parquet(
        tmp_path / "x.parquet", text=repeated("x" * 10**6, 10**6), label=repeated("a", 10**6)
    )
    assert bomb.stat().st_size < 100_000
    code = (
        "import sys, pyarrow\n"
        "from adarank_core.data.tables import read_table\n"
        "try:\n    read_table(sys.argv[1])\n"
        "except ValueError:\n    print(pyarrow.default_memory_pool().max_memory())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, bomb], capture_output=True, check=True)
    assert int(done.stdout) < 50_000_000


# Tasks -------------------------------------------------------------------------------------------


def labelled(*labels):
    rows = [json.dumps({"text": f"text {at}", "label": label}) for at, label in enumerate(labels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"train.csv": CSV, "val.csv": CSV, "dev.csv": CSV}, "holds val.csv and dev.csv; keep one"),
        ({"train.csv": CSV, "validation.csv": CSV, "val.csv": CSV}, "keep one"),
        ({"dev.csv": CSV}, "holds no train file"),
        ({"train.csv": CSV, "test.csv": b""}, "is empty"),
        ({"train.jsonl": labelled(*range(10_001))}, "has 10,001 classes"),
        ({"train.jsonl": labelled("y" * 1001, "z") + "\n" + labelled(*["z"] * 99)}, "1,001 char"),
        ({"train.jsonl": labelled(*["a"] * 99)}, "one class only"),
    ],
    ids=range(7),
)
def test_tasks(tmp_path, files, part):
    for name, content in files.items():
        written(tmp_path, name, content)
    assert part in refusal(load_task, tmp_path)


@pytest.mark.parametrize("names", [["a", "caf\udce9"], ["a", "b" * 1001]])
def test_label_names_of_a_meta_file(tmp_path, names):
    (tmp_path / "meta.json").write_text(json.dumps({"label_names": names}))
    refusal(load_task, written(tmp_path, "x.csv", CSV.replace(b"no", b"0").replace(b"yes", b"1")))


# Homes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "home", "part"),
    [
        (lambda path: path.touch(), "x", "Not a directory"),
        (lambda path: path.touch(), "x/deep/home", "Not a directory"),
        (lambda path: os.mkfifo(path), "x", "Not a directory"),
        (lambda path: path.symlink_to("x"), "x", "Too many levels"),
        (lambda path: None, "y" * 300, "File name too long"),
        (lambda path: None, "/proc/adarank", "No such file"),
        (lambda path: None, "/dev/null", "Not a directory"),
        (lambda path: None, "~no-such-user-here/home", "there is no such user"),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("folder", [cache_folder, runs_folder])
def test_homes(tmp_path, monkeypatch, folder, make, home, part):
    make(tmp_path / "x")
    whole = home if home.startswith("~") else str(tmp_path / home)
    monkeypatch.setenv("ADARANK_HOME", whole)
    message = refusal(folder)
    assert part in message and "set ADARANK_HOME to a folder" in message
