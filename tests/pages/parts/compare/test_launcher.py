from pathlib import Path

import pytest

from adarank_core.errors import AdaRankError
from adarank_core.files import write_json
from adarank_core.runs.jobs import Run
from pages.parts.compare.launcher import arguments, rates_from, seconds_expected, seeds_from

CONFIG = {
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0, 1],
    "average_rank": 2.5,
    "trials": 8,
    "settings": {"steps": 10, "batch_size": 32},
}


def test_the_command_line_takes_what_the_page_and_what_a_run_keeps():
    assert arguments(CONFIG) == [
        "compare",
        "--model=embedded",
        "--task=docstrings",
        "--arms=uniform,adarank",
        "--average-rank=2.5",
        "--seeds=0,1",
        "--trials=8",
        "--steps=10",
        "--batch-size=32",
        "--learning-rate=0.005",
        "--max-length=128",
    ]
    settings = {"learning_rate": 0.005, "max_length": 128, "evaluations": 6}
    kept = {**CONFIG, "trials": None, "settings": {**CONFIG["settings"], **settings}}
    kept |= {"learning_rates": [], "side_by_side": 1}
    assert arguments(kept)[-2:] == ["--learning-rate=0.005", "--max-length=128"]
    assert not any(word.startswith("--trials") for word in arguments(kept))


def test_the_command_line_is_understood(monkeypatch):
    from typer.testing import CliRunner

    from adarank_core.__main__ import app

    more = {"learning_rates": [0.001, 0.005], "side_by_side": 2, "arms": ["nonsense"]}
    words = [*arguments({**CONFIG, **more}), "--queue", "--resume"]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, AdaRankError)
    assert "'nonsense' is unknown" in str(found.exception)  # all flags before it were taken


def test_no_digit_of_a_rank_is_lost():
    assert "--average-rank=2.3333333333333335" in arguments({**CONFIG, "average_rank": 7 / 3})


def test_seeds_and_rates_are_numbers_with_commas():
    assert seeds_from("3, 4,") == [3, 4]
    assert rates_from("1e-3, 5e-3,0.02") == [0.001, 0.005, 0.02]
    with pytest.raises(AdaRankError, match="'x'; give whole numbers"):
        seeds_from("x")
    with pytest.raises(AdaRankError, match="'fast'; give numbers such as 1e-3"):
        rates_from("fast")


def earlier(folder, **changes):
    runs = [{"train_seconds": 20.0, "steps": 10}, {"train_seconds": 40.0, "steps": 10}]
    arms = {"uniform": {"allocation_seconds": 0.0}, "adarank": {"allocation_seconds": 5.0}}
    write_json(folder / "verdict.json", {"arms": {a: {**v, "runs": runs} for a, v in arms.items()}})
    return Run(folder, {**CONFIG, **changes}, "finished")


def test_the_time_is_foretold_from_a_run_that_was_alike(tmp_path):
    # Two arms and two seeds, ten steps of three seconds; ranks once a seed.
    assert seconds_expected(CONFIG, [earlier(tmp_path)]) == 2 * 2 * 30 + 2 * 5
    grid = {**CONFIG, "learning_rates": [0.001, 0.005]}
    assert seconds_expected(grid, [earlier(tmp_path)]) == 2 * (2 + 2) * 30 + 2 * 5


def test_nothing_is_foretold_from_a_run_that_was_other_or_is_damaged(tmp_path):
    assert seconds_expected(CONFIG, []) is None
    assert seconds_expected(CONFIG, [earlier(tmp_path, task="trec")]) is None
    assert seconds_expected(CONFIG, [Run(Path("none"), CONFIG, "finished")]) is None
    run = earlier(tmp_path)
    for damaged in ({"arms": {}}, {"arms": {"uniform": 1}}, {}, []):
        write_json(tmp_path / "verdict.json", damaged)
        assert seconds_expected(CONFIG, [run]) is None
