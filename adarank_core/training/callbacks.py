"""What is passed on of a training while it goes on."""

import time

import numpy as np
import psutil
import torch
from transformers import TrainerCallback

from adarank_core.errors import AdaRankError

__all__ = ["Live", "NotFiniteError", "Stopped"]


class Stopped(Exception):
    """A training was asked to stop before its first step; who started it gets None.

    Examples
    --------
    >>> issubclass(Stopped, AdaRankError)  # it is no error
    False
    """


class NotFiniteError(AdaRankError):
    """A loss or a prediction that is no finite number: training has diverged.

    Examples
    --------
    >>> raise NotFiniteError("the training loss at step 3 is not finite")
    Traceback (most recent call last):
    ...
    adarank_core.training.callbacks.NotFiniteError: the training loss at step 3 is not finite
    """


class Live(TrainerCallback):
    """Pass Trainer's logs on as events, stop when asked to, and refuse a loss that is no number.

    Parameters
    ----------
    settings : Settings
    on_event, should_stop : callable
        See `finetune`.
    """

    def __init__(self, settings, on_event, should_stop):
        self.settings, self.on_event, self.should_stop = settings, on_event, should_stop
        self.stopped = False
        self.process = psutil.Process()

    def start(self, seconds: float) -> None:
        """Start the clock, at what an earlier process or the preparation has taken already."""
        self.started = time.perf_counter() - seconds
        self.in_steps, self.examples = 0.0, 0  # without evaluation and checkpoints

    def seconds(self) -> float:
        """Return the seconds of training so far, those of earlier processes with them."""
        return time.perf_counter() - self.started

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step:
            self.on_event({"event": "resumed", "step": state.global_step})

    def on_step_begin(self, args, state, control, **kwargs):
        self.step_began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.in_steps += time.perf_counter() - self.step_began
        self.examples += self.settings.batch_size
        if state.global_step < state.max_steps and self.should_stop():
            self.stopped = True
            control.should_training_stop = True
        return control

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs:
            return
        state.log_history.clear()  # the events have it; a checkpoint need not
        common = {"step": state.global_step, "steps": self.settings.steps}
        common["seconds"] = round(self.seconds(), 3)
        if "loss" in logs:
            self.check_finite(f"training loss at step {state.global_step}", logs["loss"])
            common["examples_per_second"] = round(self.examples / self.in_steps, 1)
            common["memory_mb"] = self.memory_mb()
            self.on_event({"event": "step", **common, "train_loss": logs["loss"]})
        elif measured := _measured_on_validation(logs):
            loss = measured["validation_loss"]
            self.check_finite(f"validation loss at step {state.global_step}", loss)
            self.on_event({"event": "evaluation", **common, **measured})

    def memory_mb(self) -> int:
        """Return what this process holds, of the GPU's memory where there is one."""
        on_gpu = torch.cuda.is_available()
        held = torch.cuda.memory_reserved() if on_gpu else self.process.memory_info().rss
        return round(held / 1e6)

    def check_finite(self, what: str, values) -> None:
        """Raise `NotFiniteError` where a number is none."""
        if not np.isfinite(values).all():
            raise NotFiniteError(
                f"the {what} is not finite; lower the learning rate of "
                f"{self.settings.learning_rate:g}"
            )


def _measured_on_validation(logs: dict) -> dict:
    """Return the objective's own metrics of an evaluation, without the prefix of Trainer."""
    found = {name.removeprefix("eval_"): value for name, value in logs.items()}
    return {name: value for name, value in found.items() if name.startswith("validation_")}
