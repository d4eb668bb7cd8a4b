import pytest

from adarank_core.errors import AdaRankError
from pages.parts.compare.launcher import arguments, rates_from, seeds_from

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
