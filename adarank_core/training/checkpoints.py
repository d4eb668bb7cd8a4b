"""Checkpoints of a run under way: whole ones only, taken over by the same run only.

They are Trainer's own (weights as safetensors; the optimizer's and the generators' state as
``torch.save`` writes them, which Trainer reads back with ``weights_only``). A file that is written
last tells a whole one from one that was cut off, what run it belongs to, and the digests of all
others: what has changed since, by a bad disk or by somebody, is not read at all.
"""

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from transformers import TrainerCallback

from adarank_core.checks import is_number
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json, write_json

__all__ = ["CHECKPOINT_SECONDS", "CheckpointCallback", "clear", "newest"]

#: Training that a killed run may lose. Writing one takes a twentieth of a second for LoRA.
CHECKPOINT_SECONDS = 30.0
WHOLE = "whole.json"
MOST_SECONDS = 1e9


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
        folder = Path(args.output_dir) / _name(state.global_step)
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:  # on the disk before it is said to be whole
                    os.fsync(file.fileno())
        mark = {"asked": self.asked, "seconds": self.seconds(), "files": _digests(folder)}
        write_json(folder / WHOLE, mark)
        self.newest = time.monotonic()


def newest(
    folder: Path, asked: dict, on_event: Callable[[dict], None] = lambda event: None
) -> tuple[Path, int, float] | None:
    """Return the last good checkpoint of a run, and delete all others.

    Parameters
    ----------
    folder : pathlib.Path
        That of the checkpoints; may be missing.
    asked : dict
        What the run is asked for now, with its ``settings``.
    on_event : callable
        Called with a ``"notice"`` for each that is passed over: one that was cut off, has changed
        since, or was asked for something else.

    Returns
    -------
    tuple or None
        Its folder, its step, and the seconds that the run had taken.

    Raises
    ------
    AdaRankError
        If ``folder`` is a link: nothing is deleted elsewhere.

    Examples
    --------
    >>> import tempfile
    >>> newest(Path(tempfile.mkdtemp()), {}) is None
    True
    """
    if folder.is_symlink():
        raise AdaRankError(f"{str(folder)!r} is a link; put a folder in its place or remove it")
    found, last = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True), None
    asked = json.loads(json.dumps(asked))  # as it was written: no tuples
    for path in found:
        try:
            last = (path, _step(path), _checked(path, asked))
            break
        except (OSError, AdaRankError) as error:
            why = by_name(AdaRankError(str(error)), path)
            on_event({"event": "notice", "message": f"{path.name} is passed over: {why}"})
    for path in found:
        if last is None or path != last[0]:
            _remove(path)
    return last


def _checked(folder: Path, asked: dict) -> float:
    """Return the seconds that a run had taken at a checkpoint; refuse one that is not good."""
    if folder.is_symlink() or not folder.is_dir():
        raise AdaRankError("it is no folder")
    mark = read_json(folder / WHOLE)
    seconds = mark.get("seconds") if isinstance(mark, dict) else None
    if not (is_number(seconds) and 0 <= seconds <= MOST_SECONDS):
        raise AdaRankError(f"{WHOLE!r} is not as it was written")
    if mark.get("asked") != asked:
        raise AdaRankError("it is of a run that was asked for something else")
    step, steps = _step(folder), asked["settings"]["steps"]
    if not 0 < step < steps or folder.name != _name(step):
        raise AdaRankError(f"step {step} is none of 1 to {steps - 1}")
    written, found = mark.get("files"), _digests(folder)
    if written != found:
        written = written if isinstance(written, dict) else {}
        names = sorted(set(found) | set(written))
        changed = [name for name in names if found.get(name) != written.get(name)]
        raise AdaRankError(f"{changed[0] if changed else WHOLE!r} is not as it was written")
    state = read_json(folder / "trainer_state.json")
    if not isinstance(state, dict) or state.get("global_step") != step:
        raise AdaRankError(f"it is not of step {step}, but says another")
    return seconds


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of a checkpoint's files by name, its mark left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind, name = path.lstat().st_mode, path.relative_to(folder).as_posix()
        if stat.S_ISREG(kind) and name != WHOLE:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        elif not stat.S_ISDIR(kind) and name != WHOLE:
            found[name] = ""  # a link or a named pipe, which Trainer never wrote
    return found


def _name(step: int) -> str:
    return f"checkpoint-{step}"


def _step(folder: Path) -> int:
    """Return the step that a checkpoint's name tells, or 0."""
    digits = folder.name.removeprefix(_name(""))
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Delete the checkpoints of a run that has finished.

    Examples
    --------
    >>> import tempfile
    >>> clear(Path(tempfile.mkdtemp()) / "none")
    """
    shutil.rmtree(folder, ignore_errors=True)
