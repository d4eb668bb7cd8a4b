"""Algorithm 1 of the paper: ordinary LoRA with given ranks, one arm of a comparison."""

import errno
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainingArguments

from adarank_core.checks import is_whole
from adarank_core.data.task import Task
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json, write_json, write_text
from adarank_core.hardware import bf16_is_native, is_out_of_memory
from adarank_core.ranks.plans import RankPlan
from adarank_core.scoring.encoding import longest_text
from adarank_core.scoring.labels import public_name
from adarank_core.scoring.models import ModelBundle, model_sha256, without_bars
from adarank_core.scoring.token_use import first_token_modules
from adarank_core.training import checkpoints
from adarank_core.training.adapters import AdaLoraSteps, adapted, final_ranks, lora_size
from adarank_core.training.batches import PartsTrainer
from adarank_core.training.callbacks import Live, Stopped
from adarank_core.training.objectives import lengths_of_rows, objective_for
from adarank_core.training.results import RunResult
from adarank_core.training.settings import Settings
from adarank_core.training.speedups import cast_frozen, learns_in_bfloat16, make_lean
from adarank_core.training.text_results import write_text_results

__all__ = ["Settings", "Training", "finetune", "train"]

# Validation on the way takes this many texts for each text trained on: 2 to 2.5% of the time. No
# fewer than are worth a point of a curve.
VALIDATION_SHARE = 0.04
VALIDATION_ROWS = (32, 320)
# All weights take about a hundredth of LoRA's learning rate; with LoRA's own they are destroyed.
FULL_LEARNING_RATE = 0.01
EVA_TEXTS = 16
TOKENISED_AT_ONCE = 1000  # texts: a tenth of a second


def finetune(
    model: str,
    task: Task,
    plan: RankPlan | None,
    settings: Settings | None = None,
    *,
    method: str = "lora",
    measure: str = "test",
    seed: int = 0,
    output: Path | None = None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict | None:
    """Fine-tune a model on a task with a plan's ranks, and measure it once at the end.

    Parameters
    ----------
    model : str
        Name for `load_model`.
    task : Task
    plan : RankPlan or None
        Its modules must be modules of the model. None only for a method without ranks.
    settings : Settings, optional
    method : {"lora", "eva", "adalora", "head-only", "full"}
        See `adarank_core.training.adapters.adapted`.
    measure : {"test", "validation"}
        What is measured at the end. On the validation texts choices are made: the test texts are
        then not touched, and no adapter is saved.
    seed : int
        Draws the head, LoRA's matrices, dropout and the order of the data.
    output : pathlib.Path, optional
        Folder in which the adapter is saved, as ``adapter``, and what every test text came to
        (`training.text_results`), and while training goes on a
        checkpoint every half minute and when it is stopped, as ``checkpoints``. The same run
        goes on from the last of them, to the very numbers that it would have had; who keeps the
        result deletes them with `training.checkpoints.clear`. AdaLoRA has state that PEFT
        does not save, and begins again.
    on_event : callable
        Called with a dictionary whose ``event`` is ``"step"`` (``step``, ``steps``,
        ``train_loss``, ``seconds``, ``examples_per_second``, ``memory_mb``), ``"evaluation"``
        (``step``, ``validation_loss``, ``validation_accuracy``, the latter two over 32 to 320
        validation texts, so that watching takes under 3% of the time), ``"resumed"`` (``step``)
        or ``"notice"`` (``message``: a checkpoint is passed over). AdaLoRA's train loss has its
        penalty in it.
    should_stop : callable
        Asked while texts are prepared and after every step but the last; when it says so, training
        ends and the result is None.

    Returns
    -------
    dict or None
        ``seed``, ``test_loss`` (nats a text), ``test_accuracy``, ``macro_f1``, ``auc`` (None
        unless there are two classes), ``train_seconds`` (with what EVA takes to begin),
        ``steps``, ``lora_parameters`` and ``ranks``, the latter two as they are at the end.
        Measured on validation, it has ``validation_loss`` and ``validation_accuracy`` instead,
        over all validation texts, whose measuring counts in ``train_seconds``.

    Raises
    ------
    AdaRankError
        If the plan does not fit the model, the loss is not finite, or memory runs out.
    OSError
        If a checkpoint cannot be written, as on a full disk.

    Examples
    --------
    >>> from adarank_core import adaptable_modules, load_model, load_task
    >>> names = [m.name for m in adaptable_modules(load_model("embedded").model)]
    >>> plan = RankPlan("embedded", dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    >>> task = load_task("docstrings")                                # doctest: +SKIP
    >>> finetune("embedded", task, plan)["test_accuracy"] > 0.5       # doctest: +SKIP
    True
    """
    training = Training(model, task, plan, settings or Settings(), method, measure, seed)
    result = train(training, output=output, on_event=on_event, should_stop=should_stop)
    return None if result is None else result.to_dict()


@dataclass(frozen=True)
class Training:
    """What one training is asked for; see `finetune`.

    Parameters
    ----------
    model : str
    task : Task
    plan : RankPlan or None
    settings : Settings
    method, measure : str
    seed : int

    Raises
    ------
    AdaRankError
        If the seed or what is to be measured is none.

    Examples
    --------
    >>> Training("embedded", None, None, seed=-1)
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: the seed is -1; it must be from 0 to 4294967295
    """

    model: str
    task: Task
    plan: RankPlan | None
    settings: Settings = field(default_factory=Settings)
    method: str = "lora"
    measure: str = "test"
    seed: int = 0

    def __post_init__(self):
        if not is_whole(self.seed, 0, 2**32 - 1):
            raise AdaRankError(f"the seed is {quoted(self.seed)}; it must be from 0 to {2**32 - 1}")
        if self.measure not in ("test", "validation"):
            raise AdaRankError(f"measure is {self.measure!r}; it must be 'test' or 'validation'")


def train(
    training: Training,
    *,
    output: Path | None = None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunResult | None:
    """Fine-tune and measure as `finetune` does, for who wants an object.

    Parameters
    ----------
    training : Training
    output, on_event, should_stop
        See `finetune`.

    Returns
    -------
    RunResult or None
        None when stopped.
    """
    try:
        return _trained(training, output, on_event, should_stop)
    except Stopped:
        return None


def _trained(
    training: Training, output: Path | None, on_event: Callable, should_stop: Callable
) -> RunResult | None:
    """Fine-tune and measure; None when stopped after a step, `Stopped` before the first."""
    objective, settings = objective_for(training.task), training.settings
    bundle = objective.load(training.model, settings.device, settings.dtype)
    longest = min(settings.max_length, longest_text(bundle))
    lower = _settle_precision(bundle)
    if should_stop():
        raise Stopped
    weights = model_sha256(bundle)
    model, seconds = _adapted(training, objective, bundle, longest, lower)
    data, validation, measured = (
        _tokenised(objective, bundle, rows, longest, should_stop)
        for rows in (
            objective.training_rows(settings.steps * settings.batch_size, training.seed),
            objective.validation_rows(_validation_count(settings)),
            getattr(training.task, training.measure),
        )
    )
    order = objective.order(data, settings.batch_size, settings.steps, training.seed)
    live = Live(settings, on_event, should_stop)
    callbacks, checkpoint = [live], None
    if training.method == "adalora":
        callbacks.append(AdaLoraSteps())
    elif output is not None:
        identity = _identity(training, objective.sha256(), weights)
        callbacks.append(checkpoints.CheckpointCallback(identity, live.seconds))
        found = checkpoints.newest(output / "checkpoints", identity, on_event)
        if found is not None:
            checkpoint, step, seconds = found
            order.pass_over(step, should_stop)
    trainer = PartsTrainer(
        model=model,
        args=_arguments(training, output, lower, bundle.model.device),
        train_dataset=data,
        order=order,
        eval_dataset=validation.select(_by_length(validation)),
        data_collator=objective.collator(bundle),
        compute_metrics=objective.progress,
        preprocess_logits_for_metrics=objective.logits,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    live.start(seconds)
    with _cannot_go_on(checkpoint, live), _resources_run_out(settings), without_bars():
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        seconds = live.seconds()
        if live.stopped:
            return None
        if output is not None and training.plan is not None and training.measure == "test":
            _save_adapter(model, output / "adapter", training.model)
        by_length = _by_length(measured)
        predicted = trainer.predict(measured.select(by_length))
        if training.measure == "validation":
            seconds = live.seconds()
    live.check_finite(f"prediction for a {training.measure} text", predicted.predictions)
    if output is not None and training.measure == "test":
        of_texts = objective.of_every_text(predicted)
        rows = np.argsort(by_length)
        write_text_results(output, {name: found[rows] for name, found in of_texts.items()})
    return RunResult(
        seed=training.seed,
        metrics=objective.metrics(predicted, training.measure),
        train_seconds=round(seconds, 3),
        steps=trainer.state.global_step,
        lora_parameters=lora_size(model),
        ranks=final_ranks(model, training.plan),
    )


def _tokenised(objective, bundle: ModelBundle, rows, longest: int, should_stop: Callable):
    """Tokenise rows, a thousand at a time to look whether to stop."""
    from datasets import concatenate_datasets

    parts = []
    for start in range(0, max(1, len(rows)), TOKENISED_AT_ONCE):
        if should_stop():
            raise Stopped
        part = rows.iloc[start : start + TOKENISED_AT_ONCE]
        parts.append(objective.tokenise(bundle, part, longest))
    return concatenate_datasets(parts)


def _save_adapter(model, folder: Path, base: str) -> None:
    """Save an adapter in place of what stood there: PEFT would write through links.

    It goes to other machines, on which the base model's folder of this one means nothing: config
    and card name it as others know it. Written after PEFT, which asks the Hub for what it names.
    """
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    model.save_pretrained(folder)
    if (folder / "adapter_config.json").exists():  # a model that is trained whole has none
        config = read_json(folder / "adapter_config.json")
        place, name = config["base_model_name_or_path"], public_name(str(base))
        write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": name})
        card = folder / "README.md"
        if place and card.exists():
            write_text(card, card.read_text(encoding="utf-8").replace(place, name))


def _settle_precision(bundle: ModelBundle) -> bool:
    """Tell whether matrix products are in bfloat16; frozen weights are then, or else in float32."""
    model = bundle.model
    if getattr(model, "is_quantized", False):
        raise AdaRankError(
            f"the model {bundle.name!r} is quantised; train it with the exported ranks where it is "
            "used, or give the model without quantisation here"
        )
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)  # the one that Trainer uses
    stored = model.dtype == torch.bfloat16
    lower = (stored or bf16_is_native(model.device)) and learns_in_bfloat16(bundle)
    if not (lower and stored):
        model.float()
    return lower


def _adapted(
    training: Training, objective, bundle: ModelBundle, longest: int, lower: bool
) -> tuple:
    """Return the model as it is trained, and the seconds that this took."""
    started = time.perf_counter()
    eva = training.method == "eva"
    first_token = first_token_modules(bundle)
    model = adapted(
        bundle,
        training.plan,
        method=training.method,
        seed=training.seed,
        steps=training.settings.steps,
        texts=objective.sample(EVA_TEXTS, training.seed)[0].items if eva else (),
        max_length=longest,
    )
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    make_lean(bundle.model, first_token)
    if lower:
        cast_frozen(bundle.model)
    return model, time.perf_counter() - started


def _identity(training: Training, task_sha256: str, model_sha256: str) -> dict:
    """Return what tells a training from others, for its checkpoints."""
    plan = training.plan and training.plan.to_dict()
    return {
        "model": training.model,
        "task": task_sha256,
        "model_sha256": model_sha256,
        "settings": training.settings.to_dict(),
        "method": training.method,
        "plan": plan,
        "seed": training.seed,
    }


@contextmanager
def _cannot_go_on(checkpoint: Path | None, live: Live):
    """Say in a sentence that a checkpoint with a right mark cannot be read: somebody made it."""
    try:
        yield
    except (OSError, AdaRankError, Stopped):
        raise
    except Exception as error:
        if checkpoint is None or live.examples:
            raise
        first = str(error).strip().partition("\n")[0]
        raise AdaRankError(
            f"{str(checkpoint)!r} cannot be gone on from ({type(error).__name__}: {first}); delete "
            "it to train from the one before it or anew"
        ) from error


@contextmanager
def _resources_run_out(settings: Settings):
    """Say in a sentence what torch says in many ways when memory or the disk is full."""
    try:
        yield
    except (RuntimeError, MemoryError, SafetensorError) as error:
        said = str(error)
        if is_out_of_memory(error):
            smaller = f"batch_size, such as {settings.batch_size // 2}"
            if settings.batch_size == 1:
                smaller = f"max_length, such as {max(1, settings.max_length // 2)}"
            raise AdaRankError(
                f"memory ran out with batches of {settings.batch_size} texts of up to "
                f"{settings.max_length} tokens; give a smaller {smaller}"
            ) from None
        # torch names no reason, safetensors does.
        number = re.search(r"os error (\d+)", said)
        if number or "inline_container" in said or "iostream" in said:
            number = int(number[1]) if number else errno.ENOSPC
            raise OSError(number, os.strerror(number)) from error
        raise


def _validation_count(settings: Settings) -> int:
    """Return how many validation texts an evaluation on the way takes.

    Examples
    --------
    >>> _validation_count(Settings()), _validation_count(Settings(steps=2000))
    (32, 320)
    """
    fewest, most = VALIDATION_ROWS
    rows = VALIDATION_SHARE * settings.steps * settings.batch_size / settings.evaluations
    return min(most, max(fewest, round(rows)))


class OneDeviceArguments(TrainingArguments):
    """Trainer's arguments, but for one device: one process, one device.

    With several GPUs in sight Trainer would wrap the model in DataParallel, whose copies know
    nothing of the lean forward pass.

    Examples
    --------
    >>> OneDeviceArguments(output_dir="unused", use_cpu=True).n_gpu
    0
    """

    @property
    def n_gpu(self) -> int:
        """Return 1 where there are GPUs, however many, and else 0."""
        return min(1, super().n_gpu)


def _arguments(training: Training, output: Path | None, lower: bool, device: torch.device):
    settings, full = training.settings, training.method == "full"
    rate = settings.learning_rate * (FULL_LEARNING_RATE if full else 1)
    return OneDeviceArguments(
        # Trainer makes the folder even where it writes nothing.
        output_dir=tempfile.gettempdir() if output is None else str(output / "checkpoints"),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=16,  # of like length: less padding
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=round(0.06 * settings.steps),
        train_sampling_strategy="sequential",  # the rows are ordered already
        bf16=lower,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=math.ceil(settings.steps / settings.evaluations),
        save_strategy="no",  # but when a callback asks for it
        save_total_limit=2,  # the last stays until the next one is whole
        report_to="none",
        disable_tqdm=True,
        seed=training.seed,
    )


def _by_length(data) -> np.ndarray:
    """Return an order by length, so that evaluation pads little."""
    return np.argsort(lengths_of_rows(data), kind="stable")
