"""Looks: what a folder remembers of the verdicts that were read of it."""

import pytest

from adarank_core import AdaRankError
from adarank_core.comparison.judging import verdict_of
from adarank_core.comparison.looks import count_look
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import read_json, write_json


def asked(seeds, arms=("uniform", "adarank"), smallest=None):
    return ComparisonRequest("m", "t", arms, seeds=seeds, smallest_of_interest=smallest)


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "comparison.json", {"model": "m", "planned_seeds": [0, 1, 2]})
    return tmp_path


PLANNED = asked((0, 1, 2))


@pytest.mark.parametrize(
    ("then", "looks"),
    [
        (PLANNED, 1),
        (asked((2, 1, 0), ("adarank", "uniform")), 1),
        (asked((0, 1, 2, 3)), 2),
        (asked((0, 1)), 2),
        (asked((0, 1, 2), ("uniform", "adarank", "permuted")), 2),
        (asked((0, 1, 2), smallest=0.01), 2),
    ],
    ids=["same", "order", "more seeds", "fewer seeds", "more arms", "other interest"],
)
def test_a_verdict_on_anything_else_is_another_look(folder, then, looks):
    assert len(count_look(folder, PLANNED).looks) == 1
    declared = count_look(folder, then)
    assert len(declared.looks) == looks and list(declared.planned_seeds) == [0, 1, 2]
    assert read_json(folder / "comparison.json")["looks"] == list(declared.looks)
    if looks == 2:  # to go back does not undo what was seen
        assert len(count_look(folder, PLANNED).looks) == 3


@pytest.mark.parametrize(
    ("then", "looks"),
    [
        (asked((0, 1, 2)), 1),
        (asked((1, 2)), 2),
        (asked((0, 1, 2), ("uniform", "permuted")), 2),
    ],
    ids=["goes on", "drops it", "other arms"],
)
def test_one_seed_decides_nothing_and_so_going_on_from_it_is_no_look(folder, then, looks):
    count_look(folder, asked((0,)))
    assert len(count_look(folder, then).looks) == looks


def test_seeds_one_by_one_are_no_way_round(folder):
    for seed in range(3):
        declared = count_look(folder, asked((seed,)))
    assert len(declared.looks) == 3


def test_a_verdict_of_an_older_version_was_read(tmp_path):
    write_json(tmp_path / "comparison.json", {"model": "m"})
    about = {"lora_parameters": 9, "allocation_seconds": 0.0}
    runs = [{"seed": seed, "test_loss": 0.5} for seed in (0, 1, 2)]
    arms = {arm: {**about, "runs": runs} for arm in ("uniform", "adarank")}
    write_json(tmp_path / "verdict.json", verdict_of("t", "m", arms).to_dict())
    assert len(count_look(tmp_path, PLANNED).looks) == 1
    assert len(count_look(tmp_path, asked((0, 1, 2, 3))).looks) == 2
    (tmp_path / "verdict.json").write_text("{")
    write_json(tmp_path / "comparison.json", {"model": "m"})
    declared = count_look(tmp_path, PLANNED)
    assert len(declared.looks) == 1 and list(declared.planned_seeds) == [0, 1, 2]


def test_a_damaged_folder_is_one_sentence(tmp_path):
    write_json(tmp_path / "comparison.json", {"looks": [3]})
    with pytest.raises(AdaRankError, match=r"look 1 of comparison\.json is 3"):
        count_look(tmp_path, PLANNED)
