"""The command and the program ask for what the run was asked for, by the program's own readers."""

import doctest
import shlex
from dataclasses import replace

import pytest

import adarank_core as ar
from adarank_core.__main__ import main
from adarank_core.commands import train
from adarank_core.comparison import compare
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.training.settings import Settings
from pages.parts.compare import how_again

USUAL = ComparisonRequest("embedded", "docstrings", ("uniform", "adarank"), seeds=(0, 1, 2))
CHANGED = {
    "average_rank": 7 / 3,
    "seeds": (3,),
    "trials": 6,
    "settings": Settings(steps=12, batch_size=4, learning_rate=0.002),
    "alpha": "rslora",
    "metric": "macro_f1",
    "smallest_of_interest": 0.015,
}
REQUESTS = [
    USUAL,
    replace(USUAL, **CHANGED),
    replace(USUAL, learning_rates="auto"),
    replace(USUAL, learning_rates=(0.001, 0.02), side_by_side=2),
]


def test_examples():
    assert doctest.testmod(how_again).failed == 0


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_command_is_read_as_the_same_request(monkeypatch, request_):
    asked = []
    monkeypatch.setattr(train, "_run_comparison", lambda *given: asked.append(given))
    words = shlex.split(how_again.command(request_.to_dict(), "mine-again"))
    assert words[:3] == ["python", "-m", "adarank_core"]
    assert main(words[3:]) == 0
    ((found, output, resume, queue),) = asked
    assert found == request_
    assert (str(output), resume, queue) == ("mine-again", False, False)


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_program_asks_for_the_same(monkeypatch, request_):
    class Asked(Exception):
        pass

    class Stub:
        def __init__(self, request, task, *, output, **callbacks):
            raise Asked(request, task, str(output))

    monkeypatch.setattr(compare, "Comparison", Stub)

    class Task:
        name = "docstrings"

    monkeypatch.setattr(ar, "load_task", lambda name: Task if name == Task.name else None)
    with pytest.raises(Asked) as found:
        exec(how_again.snippet(request_.to_dict(), "mine-again"), {})
    request, task, output = found.value.args
    assert request == replace(request_, side_by_side=1)  # which is of the command line alone
    assert (task, output) == (Task, "mine-again")


def test_files_are_called_as_they_are_where_somebody_has_them():
    request = replace(USUAL, task="/srv/up/0f3a/mine.csv", arms=("uniform", "/srv/up/ranks.json"))
    for told in (how_again.command, how_again.snippet):
        said = told(request.to_dict(), "again")
        assert "mine.csv" in said and "ranks.json" in said and "/srv" not in said
