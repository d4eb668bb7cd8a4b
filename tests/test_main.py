"""The command line as a whole: its help, streams and exit codes, one line for all that is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import adarank_core
from adarank_core import AdaRankError, Scores
from adarank_core.__main__ import main
from adarank_core.files import read_json
from adarank_core.runs.jobs import runs

pytestmark = pytest.mark.usefixtures("home")


# What is right


def test_help_is_given_without_a_command(run):
    assert run() == run("--help")
    for command in ("score", "allocate", "finetune", "compare", "export"):
        assert command in run("--help") and "--json" in run(command, "--help")


def test_a_real_process_keeps_its_streams_and_exit_codes_apart(tiny_bert, tmp_path):
    def process(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "adarank_core", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=Path(adarank_core.__file__).parent.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )

    done = process(
        "score", "--model", tiny_bert, "--sentence", "the cat", "--trials", 2, "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    assert Scores.from_dict(json.loads(done.stdout)).texts["source"] == "sentence"
    done = process("score", "--sentence", "  ")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1 and "write at least one word" in done.stderr


# What is wrong


@pytest.mark.parametrize("options", [["--json", "-"], []], ids=str)
def test_a_full_standard_output_is_one_sentence(files, options):
    scores = str(files / "scores.json")
    command = [sys.executable, "-m", "adarank_core", "allocate", "--scores", scores, *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(adarank_core.__file__).parent.parent,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the output cannot be written")
    assert done.stderr.count("\n") == 1


BAD_TABLES = {
    "no columns": (b"", "is empty"),
    "other columns": (b"a,b\n1,2\n", "columns"),
    "header only": (b"text,label\n", "no rows"),
    "one class": (b"text,label\n" + b"".join(b"cat %d,x\n" % n for n in range(99)), "one class"),
    "empty rows": (b"text,label\ncat,x\n ,y\n", "lacks a text or a label in row 2"),
    "not UTF-8": (b"text,label\n\xff\xfe,x\n", "is not UTF-8"),
    "too few": (b"text,label\ncat,x\ndog,y\n", "at least 50"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
@pytest.mark.parametrize("command", ["score", "finetune", "compare"])
def test_a_bad_table(refusal, tiny_bert, tmp_path, kind, command):
    content, message = BAD_TABLES[kind]
    (tmp_path / "bad.csv").write_bytes(content)
    arguments = [command, "--model", tiny_bert, "--task", tmp_path / "bad.csv"]
    if command == "finetune":
        arguments += ["--uniform-rank", 2]
    assert message in refusal(*arguments)


@pytest.mark.parametrize("command", ["score", "finetune", "compare"])
def test_an_unknown_model_without_network(refusal, tiny_file, command):
    arguments = [command, "--model", "no-such/model", "--task", tiny_file]
    if command == "finetune":
        arguments += ["--uniform-rank", 2]
    assert "'no-such/model' cannot be loaded" in refusal(*arguments)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"format": "adarank-scores/1"}',
        b'{"format": "adarank-scores/1", "modules": "x\\n"}',
        b"[" * 100_000,
        "other score",
        "no modules",
    ],
    ids=range(10),
)
@pytest.mark.parametrize("command", ["allocate", "export", "finetune", "compare"])
def test_a_corrupt_file(refusal, files, tmp_path, tiny_bert, tiny_file, content, command):
    data = read_json(files / "scores.json")
    if content == "other score":
        data["modules"][2]["score"] = float("nan")
        content = json.dumps(data).encode()
    elif content == "no modules":
        content = json.dumps({**data, "modules": []}).encode()
    (tmp_path / "bad.json").write_bytes(content)
    bad, common = tmp_path / "bad.json", ["--model", tiny_bert, "--task", tiny_file]
    arguments = {
        "allocate": ["--scores", bad],
        "export": ["--ranks", bad, "--output", tmp_path / "out"],
        "finetune": ["--ranks", bad, *common],
        "compare": ["--arms", f"uniform,{bad}", *common],
    }
    refusal(command, *arguments[command])
    assert not runs() and not (tmp_path / "out").exists()


def test_an_unknown_command_or_no_value(refusal):
    assert "zork" in refusal("zork")
    assert "--scores" in refusal("allocate")
    assert "--sentence" in refusal("score", "--sentence")


def test_a_place_that_cannot_be_written(refusal, files, tiny_bert, tiny_file, tmp_path):
    (tmp_path / "file").touch()
    scores, place = files / "scores.json", tmp_path / "file" / "x.json"
    assert "cannot be written" in refusal("allocate", "--scores", scores, "--json", place)
    ranks = files / "ranks.json"
    assert "cannot be written" in refusal("export", "--ranks", ranks, "--output", place)
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--uniform-rank", 2, "--output", place]
    assert "cannot be written" in refusal("finetune", *arguments)


def test_stopping_by_hand_is_no_error_of_the_user(monkeypatch, capsys):
    from adarank_core.data import texts

    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(texts, "sentence", interrupt)
    assert main(["score", "--sentence", "cat"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_of_several_lines_is_said_in_one(monkeypatch, refusal):
    from adarank_core.data import texts

    def refuse(text):
        raise AdaRankError("one [red]\n  two")

    monkeypatch.setattr(texts, "sentence", refuse)
    assert refusal("score", "--sentence", "cat") == "error: one [red] two\n"
