import doctest

import pytest

from adarank_core.commands.lab import _own_settings
from adarank_core.errors import AdaRankError
from adarank_core.lab.studies import STUDIES
from adarank_core.lab.study import StudyRequest
from pages.parts.lab import launcher


def test_examples():
    assert doctest.testmod(launcher).failed == 0


@pytest.mark.parametrize(
    ("study", "settings"),
    [
        ("noise", {"kinds": ["gaussian"], "scales": [1.0, 2.5], "repeats": 2}),
        ("transfer", {"other_task": "trec", "average_rank": 3.0}),
        ("learning-rate", {"learning_rates": [1e-05, 0.1]}),
    ],
)
def test_the_command_line_reads_what_was_asked_for(study, settings):
    request = StudyRequest(STUDIES[study], device="cpu", settings=settings)
    words = request.arguments()
    changes = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    assert _own_settings(changes) == settings
    assert "--device=cpu" in words


def test_a_run_of_another_version_is_refused():
    with pytest.raises(AdaRankError, match="unknown"):
        launcher.request_of({"command": "lab", "study": "zork"})
    with pytest.raises(AdaRankError, match="no setting 'zork'"):
        launcher.request_of({"study": "noise", "study_settings": {"zork": 1}})
