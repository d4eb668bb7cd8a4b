"""Scoring split over processes: each module once, and the numbers of a single process."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adarank_core import AdaRankError
from adarank_core.__main__ import main
from adarank_core.files import read_json
from adarank_core.scoring import distributed
from adarank_core.scoring.distributed import is_main, is_split, own_part

NAMES = ["0.query", "0.value", "0.value.1", "1.query", "1xquery"]
ROOT = Path(__file__).parents[2]


def processes(monkeypatch, count, index=0):
    state = SimpleNamespace(num_processes=count, process_index=index)
    monkeypatch.setattr(distributed, "_state", lambda: state)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_module_belongs_to_exactly_one_process(count, monkeypatch):
    owners = {name: 0 for name in NAMES}
    for index in range(count):
        processes(monkeypatch, count, index)
        for name in NAMES:
            owners[name] += bool(re.search(own_part(NAMES), name))
    assert set(owners.values()) == {1}


def test_more_processes_than_modules_are_refused(monkeypatch):
    processes(monkeypatch, 6)
    with pytest.raises(AdaRankError, match="6 processes for 5 modules; start fewer"):
        own_part(NAMES)


def test_the_environment_tells_of_others(monkeypatch):
    for size, rank, found in (("1", "0", (False, True)), ("2", "0", (True, True))):
        monkeypatch.setenv("WORLD_SIZE", size)
        monkeypatch.setenv("RANK", rank)
        assert (is_split(), is_main()) == found
    monkeypatch.setenv("RANK", "1")
    assert not is_main()


def test_a_tolerance_is_refused_where_processes_see_some_modules_only(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["score", "--tolerance", "1"]) == 2
    told = capsys.readouterr().err
    assert "--tolerance" in told and "Traceback" not in told and told.count("\n") == 1


def test_two_processes_write_what_one_does(tiny_bert, tmp_path):
    options = ["score", "--model", tiny_bert, "--sentence", "the red cat", "--trials", "3"]
    options += ["--modules", "layer", "--json"]
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", "-m", "adarank_core"]
    together = tmp_path / "together.json"
    done = subprocess.run(
        [sys.executable, "-m", *launch, *options, str(together)],
        cwd=ROOT,
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("disagreement of") == 1  # one process tells
    assert main([*options, str(tmp_path / "alone.json")]) == 0
    two, one = (read_json(path) for path in (together, tmp_path / "alone.json"))
    for split, whole in zip(two.pop("modules"), one.pop("modules"), strict=True):
        # Some processors round by the shape of a matrix product, which modules of a block share.
        for key in ("score", "standard_error"):
            assert split.pop(key) == pytest.approx(whole.pop(key), rel=1e-5)
        assert split == whole
    assert two == one
