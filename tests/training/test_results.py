"""What a training came to, in memory and as JSON."""

import pytest

from adarank_core import AdaRankError
from adarank_core.training.results import RunResult

METRICS = {"test_loss": 0.5, "test_accuracy": 0.75, "auc": None}
WRITTEN = {
    "seed": 3,
    **METRICS,
    "train_seconds": 1.5,
    "steps": 6,
    "lora_parameters": 96,
    "ranks": {"query": 2},
}


def test_the_dictionary_is_flat_and_in_order():
    result = RunResult(3, METRICS, 1.5, 6, 96, {"query": 2})
    assert list(result.to_dict().items()) == list(WRITTEN.items())
    assert RunResult.from_dict(WRITTEN) == result


def test_the_time_for_ranks_is_there_only_where_it_is_known():
    written = {**WRITTEN, "allocation_seconds": 0.0}
    assert RunResult.from_dict(written).to_dict() == written


@pytest.mark.parametrize("key", ["seed", "steps", "ranks"])
def test_a_dictionary_that_lacks_a_key_is_refused(key):
    with pytest.raises(AdaRankError, match=f"'{key}' is missing"):
        RunResult.from_dict({k: v for k, v in WRITTEN.items() if k != key})
