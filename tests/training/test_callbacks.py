"""What is told of a training while it goes on."""

from types import SimpleNamespace

import pytest

from adarank_core import AdaRankError
from adarank_core.training import callbacks as live_file
from adarank_core.training.callbacks import Live
from adarank_core.training.settings import Settings


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test turns."""
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(live_file.time, "perf_counter", lambda: now.time)
    return now


def test_examples_a_second_are_those_of_the_steps_alone(clock):
    events = []
    live = Live(Settings(steps=3, batch_size=10), events.append, lambda: False)
    live.start(7.0)
    control = SimpleNamespace()
    for step in (1, 2, 3):
        state = SimpleNamespace(global_step=step, max_steps=3, log_history=[1])
        live.on_step_begin(None, state, control)
        clock.time += 2.0
        live.on_step_end(None, state, control)
        clock.time += 50.0  # an evaluation
        live.on_log(None, state, control, logs={"loss": 0.5})
        assert state.log_history == []
    assert [event["examples_per_second"] for event in events] == [5.0, 5.0, 5.0]
    assert [event["seconds"] for event in events] == [59.0, 111.0, 163.0]
    assert all(event["memory_mb"] > 50 for event in events)


def test_who_cancels_after_the_last_step_is_too_late():
    asked = []
    live = Live(Settings(steps=2), lambda event: None, lambda: asked.append(1) or True)
    live.start(0.0)
    control = SimpleNamespace(should_training_stop=False)
    last = SimpleNamespace(global_step=2, max_steps=2)
    live.on_step_begin(None, last, control)
    live.on_step_end(None, last, control)
    assert not live.stopped and not asked and not control.should_training_stop
    live.on_step_end(None, SimpleNamespace(global_step=1, max_steps=2), control)
    assert live.stopped and control.should_training_stop


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused(loss):
    live = Live(Settings(learning_rate=0.25), pytest.fail, lambda: False)
    live.start(0.0)
    state = SimpleNamespace(global_step=3, max_steps=9, log_history=[])
    with pytest.raises(AdaRankError, match=r"training loss at step 3 .* rate of 0.25"):
        live.on_log(None, state, None, logs={"loss": loss})
    with pytest.raises(AdaRankError, match="validation loss at step 3"):
        live.on_log(None, state, None, logs={"eval_loss": 1.0, "eval_validation_loss": loss})
