"""Checkpoints of a run under way: whole ones only, taken over by the same run only.

They are Trainer's own (weights as safetensors; the optimizer's and the generators' state as
``torch.save`` writes them, which Trainer reads back with ``weights_only``). A file that is written
last tells a whole one from one that was cut off, and what run it belongs to.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Annotated

from annotated_types import Interval
from transformers import TrainerCallback
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.files import read_json, write_json
from adarank_core.schemas import STRICT, validated

__all__ = ["CHECKPOINT_SECONDS", "CheckpointCallback", "clear", "newest"]

#: Training that a killed run may lose. Writing one takes a twentieth of a second for LoRA.
CHECKPOINT_SECONDS = 30.0
WHOLE = "whole.json"


class _Mark(TypedDict):
    __pydantic_config__ = STRICT
    asked: dict
    seconds: Annotated[float, Interval(ge=0, le=1e9)]


class CheckpointCallback(TrainerCallback):
    """Have Trainer write a checkpoint every half minute and when it is stopped, and mark it whole.

    Parameters
    ----------
    asked : dict
        What the run was asked for, as JSON has it; kept with the checkpoint.
    seconds : callable
        Returns the seconds trained so far; kept too.
    """

    def __init__(self, asked: dict, seconds):
        self.asked, self.seconds = asked, seconds
        self.newest = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        due = control.should_training_stop or time.monotonic() - self.newest >= CHECKPOINT_SECONDS
        if due and state.global_step < state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:  # on the disk before it is said to be whole
                    os.fsync(file.fileno())
        write_json(folder / WHOLE, {"asked": self.asked, "seconds": self.seconds()})
        self.newest = time.monotonic()


def newest(folder: Path, asked: dict) -> tuple[Path, float] | None:
    """Return the last whole checkpoint of a run and the seconds it took, and delete all others.

    Parameters
    ----------
    folder : pathlib.Path
        That of the checkpoints; may be missing.
    asked : dict
        What the run is asked for now; a checkpoint that was asked for something else is deleted.

    Examples
    --------
    >>> import tempfile
    >>> newest(Path(tempfile.mkdtemp()), {}) is None
    True
    """
    found, asked = [], json.loads(json.dumps(asked))  # as it was written: no tuples
    for path in folder.glob("checkpoint-*"):
        try:
            mark = validated(read_json(path / WHOLE), _Mark, WHOLE)
            step = int(path.name.removeprefix("checkpoint-"))
        except ValueError:  # as an AdaRankError is
            continue
        if mark["asked"] == asked:
            found.append((step, path, mark["seconds"]))
    last = max(found, default=None)
    for path in folder.glob("checkpoint-*"):
        if last is None or path != last[1]:
            shutil.rmtree(path, ignore_errors=True)
    return None if last is None else last[1:]


def clear(folder: Path) -> None:
    """Delete the checkpoints of a run that has finished.

    Examples
    --------
    >>> import tempfile
    >>> clear(Path(tempfile.mkdtemp()) / "none")
    """
    shutil.rmtree(folder, ignore_errors=True)
