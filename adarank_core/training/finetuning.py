"""Algorithm 1 of the paper: ordinary LoRA with given ranks, one arm of a comparison."""

import errno
import hashlib
import math
import os
import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import DataCollatorWithPadding, TrainingArguments

from adarank_core.data.task import Task
from adarank_core.errors import AdaRankError
from adarank_core.hardware import bf16_is_native
from adarank_core.ranks.allocation import RankPlan
from adarank_core.scoring.encoding import longest_text
from adarank_core.scoring.models import ModelBundle, load_model
from adarank_core.scoring.token_use import first_token_modules
from adarank_core.training import checkpoints
from adarank_core.training.adapters import AdaLoraSteps, adapted, final_ranks, lora_size
from adarank_core.training.batches import PartsTrainer, length_grouped_order
from adarank_core.training.callbacks import Live
from adarank_core.training.metrics import cross_entropy, metrics_of
from adarank_core.training.speedups import cast_frozen, make_lean

__all__ = ["Settings", "finetune"]

# Validation on the way takes this many texts for each text trained on: 2 to 2.5% of the time. No
# fewer than are worth a point of a curve.
VALIDATION_SHARE = 0.04
VALIDATION_ROWS = (32, 320)
# All weights take about a hundredth of LoRA's learning rate; with LoRA's own they are destroyed.
FULL_LEARNING_RATE = 0.01
EVA_TEXTS = 16


@dataclass(frozen=True)
class Settings:
    """What all arms of a comparison share.

    Parameters
    ----------
    steps : int
        Optimizer steps, at least 1.
    batch_size : int
        Texts a step.
    learning_rate : float
        Peak of a linear schedule with 6% warm-up, for AdamW. Full fine-tuning takes a hundredth
        of it.
    max_length : int
        Longer texts are cut to this many tokens.
    evaluations : int
        How often the validation metrics are taken on the way.

    Raises
    ------
    AdaRankError
        If a value is out of range.
    """

    steps: int = 150
    batch_size: int = 32
    learning_rate: float = 5e-3
    max_length: int = 128
    evaluations: int = 6

    def __post_init__(self):
        for name in ("steps", "batch_size", "max_length", "evaluations"):
            if getattr(self, name) < 1:
                raise AdaRankError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise AdaRankError(
                f"learning_rate is {self.learning_rate}; it must be above 0 and finite"
            )


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
        Folder in which the adapter is saved, as ``adapter``, and while training goes on a
        checkpoint every half minute and when it is stopped, as ``checkpoints``. The same run
        goes on from the last of them, to the very numbers that it would have had; who keeps the
        result deletes them with `training.checkpoints.clear`. AdaLoRA has state that PEFT
        does not save, and begins again.
    on_event : callable
        Called with a dictionary whose ``event`` is ``"step"`` (``step``, ``steps``,
        ``train_loss``, ``seconds``, ``examples_per_second``, ``memory_mb``), ``"evaluation"``
        (``step``, ``validation_loss``, ``validation_accuracy``, the latter two over 32 to 320
        validation texts, so that watching takes under 3% of the time) or ``"resumed"``
        (``step``). AdaLoRA's train loss has its penalty in it.
    should_stop : callable
        Asked after every step but the last; when it says so, training ends and the result is None.

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
    >>> from adarank_core import adaptable_modules, load_task
    >>> names = [m.name for m in adaptable_modules(load_model("embedded").model)]
    >>> plan = RankPlan("embedded", dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    >>> task = load_task("docstrings")                                # doctest: +SKIP
    >>> finetune("embedded", task, plan)["test_accuracy"] > 0.5       # doctest: +SKIP
    True
    """
    if not 0 <= seed < 2**32:
        raise AdaRankError(f"the seed is {seed}; it must be from 0 to {2**32 - 1}")
    if measure not in ("test", "validation"):
        raise AdaRankError(f"measure is {measure!r}; it must be 'test' or 'validation'")
    settings = settings or Settings()
    bundle = load_model(model, labels=len(task.label_names), head="classification")
    longest = min(settings.max_length, longest_text(bundle))
    started = time.perf_counter()
    first_token = first_token_modules(bundle)
    adapting = adapted(
        bundle,
        plan,
        method=method,
        seed=seed,
        steps=settings.steps,
        texts=task.sample_texts(EVA_TEXTS, seed=seed).items if method == "eva" else (),
        max_length=longest,
    )
    make_lean(bundle.model, first_token)
    if bf16_is_native():
        cast_frozen(bundle.model)
    begun = time.perf_counter() - started
    train = _tokenised(bundle, _enough(task.train, settings, seed), longest)
    order = length_grouped_order(
        [len(row) for row in train["input_ids"]],
        train["labels"],
        settings.batch_size,
        settings.steps,
        seed,
    )
    validation = _tokenised(bundle, _spread(task.validation, _validation_rows(settings)), longest)
    measured = _tokenised(bundle, getattr(task, measure), longest)
    live = Live(settings, on_event, should_stop)
    callbacks, checkpoint = [live], None
    if method == "adalora":
        callbacks.append(AdaLoraSteps())
    elif output is not None:
        asked = {"model": model, "task": task_sha256(task), "settings": vars(settings)}
        asked |= {"method": method, "plan": plan and plan.to_dict(), "seed": seed}
        callbacks.append(checkpoints.Keeper(asked, live.seconds))
        checkpoint = checkpoints.newest(output / "checkpoints", asked)
    trainer = PartsTrainer(
        model=adapting,
        args=_arguments(settings, seed, method, output),
        train_dataset=train.select(order),
        eval_dataset=_by_length(validation),
        data_collator=DataCollatorWithPadding(bundle.tokenizer),
        compute_metrics=_validation_metrics,
        callbacks=callbacks,
    )
    for printer in [c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__]:
        trainer.remove_callback(printer)
    live.start(begun if checkpoint is None else checkpoint[1])
    with _told_in_a_sentence(settings):
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint[0]))
        train_seconds = live.seconds()
        if live.stopped:
            return None
        if output is not None and plan is not None and measure == "test":
            adapting.save_pretrained(output / "adapter")
        predicted = trainer.predict(_by_length(measured))
        if measure == "validation":
            train_seconds = live.seconds()
    live.check_finite(f"prediction for a {measure} text", predicted.predictions)
    return {
        "seed": seed,
        **metrics_of(
            predicted.predictions, predicted.label_ids, len(task.label_names), split=measure
        ),
        "train_seconds": round(train_seconds, 3),
        "steps": trainer.state.global_step,
        "lora_parameters": lora_size(adapting),
        "ranks": final_ranks(adapting, plan),
    }


def task_sha256(task: Task) -> str:
    """Return a digest of a task's texts, labels and their names.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
    >>> one, other = (Task("mine", names, rows, rows, rows) for names in ("ab", "ac"))
    >>> task_sha256(one) == task_sha256(one) != task_sha256(other)
    True
    """
    from pandas.util import hash_pandas_object

    digest = hashlib.sha256(repr(tuple(task.label_names)).encode())
    for rows in (task.train, task.validation, task.test):
        digest.update(hash_pandas_object(rows[["text", "label"]], index=False).to_numpy().tobytes())
        digest.update(b"/")
    return digest.hexdigest()


@contextmanager
def _told_in_a_sentence(settings: Settings):
    """Tell what torch says when memory or the disk is full, which is long and of many kinds."""
    try:
        yield
    except (RuntimeError, MemoryError, SafetensorError) as error:
        said = str(error)
        memory = "allocate memory" in said or "not enough memory" in said
        if memory or isinstance(error, torch.OutOfMemoryError | MemoryError):
            smaller = f"batch_size, such as {settings.batch_size // 2}"
            if settings.batch_size == 1:
                smaller = f"max_length, such as {max(1, settings.max_length // 2)}"
            raise AdaRankError(
                f"memory ran out with batches of {settings.batch_size} texts of up to "
                f"{settings.max_length} tokens; give a smaller {smaller}"
            ) from None
        # torch names no reason, safetensors does.
        told = re.search(r"os error (\d+)", said)
        if told or "inline_container" in said or "iostream" in said:
            number = int(told[1]) if told else errno.ENOSPC
            raise OSError(number, os.strerror(number)) from error
        raise


def _validation_rows(settings: Settings) -> int:
    """Return how many validation texts an evaluation on the way takes.

    Examples
    --------
    >>> _validation_rows(Settings()), _validation_rows(Settings(steps=2000))
    (32, 320)
    """
    fewest, most = VALIDATION_ROWS
    rows = VALIDATION_SHARE * settings.steps * settings.batch_size / settings.evaluations
    return min(most, max(fewest, round(rows)))


def _spread(rows, count: int):
    """Choose rows of all classes, in their proportion: files are often sorted by class.

    Examples
    --------
    >>> import pandas as pd
    >>> _spread(pd.DataFrame({"label": [0, 0, 0, 0, 1, 1, 1, 1]}), 4)["label"].tolist()
    [0, 0, 1, 1]
    """
    by_class = rows.sort_values("label", kind="stable")
    return by_class.iloc[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def _enough(rows, settings: Settings, seed: int):
    """Draw as many rows as the run will see; to tokenise all of a large task would take longer."""
    seen = settings.steps * settings.batch_size
    if len(rows) <= seen:
        return rows
    return rows.iloc[np.random.default_rng(seed).permutation(len(rows))[:seen]]


def _arguments(settings: Settings, seed: int, method: str, output: Path | None):
    rate = settings.learning_rate * (FULL_LEARNING_RATE if method == "full" else 1)
    return TrainingArguments(
        output_dir="unused" if output is None else str(output / "checkpoints"),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=16,  # of like length: less padding
        learning_rate=rate,
        lr_scheduler_type="linear",
        warmup_steps=round(0.06 * settings.steps),
        train_sampling_strategy="sequential",  # the rows are ordered already
        bf16=bf16_is_native(),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=math.ceil(settings.steps / settings.evaluations),
        save_strategy="no",  # but when a callback asks for it
        save_total_limit=2,  # the last stays until the next one is whole
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )


def _tokenised(bundle: ModelBundle, frame, max_length: int):
    from datasets import Dataset

    tokens = bundle.tokenizer(list(frame["text"]), truncation=True, max_length=max_length)
    return Dataset.from_dict(
        {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "labels": [int(label) for label in frame["label"]],
        }
    )


def _by_length(data):
    """Order by length, so that evaluation pads little; metrics do not depend on the order."""
    return data.select(np.argsort([len(row) for row in data["input_ids"]], kind="stable"))


def _validation_metrics(predicted) -> dict:
    # Not Trainer's eval_loss, which has AdaLoRA's penalty in it.
    logits, labels = predicted.predictions, predicted.label_ids
    return {
        "cross_entropy": cross_entropy(logits, labels),
        "accuracy": float((logits.argmax(-1) == labels).mean()),
    }
