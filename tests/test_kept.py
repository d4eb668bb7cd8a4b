"""What is taken over is what this run wrote, and nothing else."""

import json
import os

import pytest

from adarank_core import AdaRankError
from adarank_core.kept import DIGEST, keep, kept

ASKED = {"seed": 0, "arms": ["uniform"]}
DATA = {"test_loss": 0.1 + 0.2, "ranks": {"query": 8}}


def pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "another value": lambda path: path.write_text(json.dumps({**DATA, "test_loss": 0.25})),
    "another key": lambda path: path.write_text(json.dumps({**DATA, "seed": 1})),
    "a key less": lambda path: path.write_text(json.dumps({"test_loss": 0.1 + 0.2})),
    "a list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "cut": lambda path: path.write_text(path.read_text()[:9]),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(b"\x80\x00\xff"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "not finite": lambda path: path.write_text('{"test_loss": NaN}'),
    "pipe": pipe,
    "dangling": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "no digest": lambda path: path.with_suffix(DIGEST).unlink(),
    "digest cut": lambda path: path.with_suffix(DIGEST).write_text("12"),
    "digest binary": lambda path: path.with_suffix(DIGEST).write_bytes(b"\xff"),
    "digest a pipe": lambda path: pipe(path.with_suffix(DIGEST)),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_what_is_damaged_is_one_sentence(tmp_path, case):
    path = tmp_path / "result.json"
    keep(path, DATA, ASKED)
    assert kept(path, ASKED) == DATA
    DAMAGES[case](path)
    with pytest.raises(AdaRankError) as caught:
        kept(path, ASKED)
    assert "'result." in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("other", [{"seed": 1}, {"arms": ["adarank"]}, {"steps": 3}], ids=str)
def test_what_was_asked_for_otherwise_is_not_taken_over(tmp_path, other):
    keep(tmp_path / "result.json", DATA, {**ASKED, **other})
    with pytest.raises(AdaRankError, match="damaged or of something else"):
        kept(tmp_path / "result.json", ASKED)
