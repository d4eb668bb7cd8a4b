"""The settings that all arms share: what they refuse, and where they come from."""

import pytest

from adarank_core import AdaRankError
from adarank_core.training import finetuning
from adarank_core.training.settings import Settings


def test_other_programs_find_them_where_they_were():
    assert finetuning.Settings is Settings


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0},
        {"steps": -1},
        {"batch_size": 0},
        {"max_length": 0},
        {"evaluations": 0},
        {"learning_rate": 0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(AdaRankError, match=f"{next(iter(values))} is"):
        Settings(**values)
