"""Algorithm 1 of the paper: ordinary LoRA with given ranks, one arm of a comparison."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from adarank_core.allocation import RankPlan
from adarank_core.errors import AdaRankError
from adarank_core.machine import bf16_is_native
from adarank_core.models import (
    ModelBundle,
    adaptable_modules,
    fresh_head,
    head_names,
    load_model,
    longest_text,
)
from adarank_core.tasks import Task

__all__ = ["Settings", "finetune", "length_grouped_order"]

# Batches of this many are drawn at random, sorted by length, cut, and shuffled again.
GROUPED_BATCHES = 20
LIVE_VALIDATION_ROWS = 320


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
        Peak of a linear schedule with 6% warm-up, for AdamW.
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
    evaluations: int = 8

    def __post_init__(self):
        for name in ("steps", "batch_size", "max_length", "evaluations"):
            if getattr(self, name) < 1:
                raise AdaRankError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise AdaRankError(f"learning_rate is {self.learning_rate}; it must be above 0")


def finetune(
    model: str,
    task: Task,
    plan: RankPlan,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    output: Path | None = None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict | None:
    """Fine-tune a model on a task with a plan's ranks, and test it once at the end.

    Parameters
    ----------
    model : str
        Name for `load_model`.
    task : Task
    plan : RankPlan
        Its modules must be modules of the model.
    settings : Settings, optional
    seed : int
        Draws the head, LoRA's matrices, dropout and the order of the data.
    output : pathlib.Path, optional
        Folder in which the adapter is saved, as ``adapter``.
    on_event : callable
        Called with a dictionary whose ``event`` is ``"step"`` (``step``, ``train_loss``,
        ``seconds``) or ``"evaluation"`` (``step``, ``validation_loss``, ``validation_accuracy``,
        the latter two over at most 320 rows).
    should_stop : callable
        Asked after every step; when it says so, training ends and the result is None.

    Returns
    -------
    dict or None
        ``seed``, ``test_loss`` (nats a text), ``test_accuracy``, ``macro_f1``, ``auc`` (None
        unless there are two classes), ``train_seconds``, ``steps`` and ``lora_parameters``.

    Raises
    ------
    AdaRankError
        If the plan does not fit the model, or the loss is not finite.

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
    settings = settings or Settings()
    bundle = load_model(model, labels=len(task.label_names), head="classification")
    adapted = _adapted(bundle, plan, seed)
    longest = min(settings.max_length, longest_text(bundle))
    train = _tokenised(bundle, task.train, longest)
    order = length_grouped_order(
        [len(row) for row in train["input_ids"]], settings.batch_size, settings.steps, seed
    )
    validation = _tokenised(bundle, task.validation[:LIVE_VALIDATION_ROWS], longest)
    test = _tokenised(bundle, task.test, longest)
    live = _Live(settings, on_event, should_stop)
    trainer = Trainer(
        model=adapted,
        args=_arguments(settings, seed),
        train_dataset=train.select(order),
        eval_dataset=_by_length(validation),
        data_collator=DataCollatorWithPadding(bundle.tokenizer),
        compute_metrics=_accuracy,
        callbacks=[live],
    )
    for printer in [c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__]:
        trainer.remove_callback(printer)
    started = time.perf_counter()
    trainer.train()
    train_seconds = time.perf_counter() - started
    if live.stopped:
        return None
    if output is not None:
        adapted.save_pretrained(output / "adapter")
    predicted = trainer.predict(_by_length(test))
    live.check_finite("prediction for a test text", predicted.predictions)
    return {
        "seed": seed,
        **_test_metrics(predicted.predictions, predicted.label_ids, len(task.label_names)),
        "train_seconds": round(train_seconds, 3),
        "steps": trainer.state.global_step,
        "lora_parameters": sum(
            weight.numel() for name, weight in adapted.named_parameters() if ".lora_" in name
        ),
    }


def check_plan(bundle: ModelBundle, plan: RankPlan) -> None:
    """Raise `AdaRankError` unless the plan's modules are the model's and its ranks fit them."""
    known = {module.name: module for module in adaptable_modules(bundle.model)}
    for name, rank in plan.ranks.items():
        if name not in known:
            raise AdaRankError(
                f"the ranks name the module {name!r}, which is none that LoRA adapts in "
                f"{bundle.name!r}; use ranks made for this model (these are for {plan.model!r})"
            )
        most = min(known[name].in_features, known[name].out_features)
        if rank > most:
            raise AdaRankError(f"the rank of {name!r} is {rank}; it may be {most} at most")


def _adapted(bundle: ModelBundle, plan: RankPlan, seed: int) -> nn.Module:
    """Give the model the head of the seed, and LoRA with the plan's ranks."""
    from peft import get_peft_model

    check_plan(bundle, plan)
    for name, head in fresh_head(bundle.model, seed).items():
        setattr(bundle.model, name, head)
    config = plan.lora_config(task_type="SEQ_CLS")
    config.modules_to_save = list(head_names(bundle.model))
    set_seed(seed)  # for LoRA's A matrices; Trainer seeds again, so that dropout is the same
    return get_peft_model(bundle.model, config)


def length_grouped_order(lengths: list[int], batch_size: int, steps: int, seed: int) -> list[int]:
    """Order a run's examples so that a batch holds texts of like length, at random otherwise.

    The data are shuffled anew for every pass. Within windows of 20 batches examples are sorted by
    length and cut into batches, and all batches of a pass are shuffled, so that length tells
    nothing about when a text is seen. What does not fill a batch moves to the next pass.

    Parameters
    ----------
    lengths : list of int
        Tokens of each example.
    batch_size, steps, seed : int

    Returns
    -------
    list of int
        ``steps * batch_size`` positions in ``lengths``, in the order of training. It depends on
        the arguments alone, so that all arms of a comparison see the same batches.

    Examples
    --------
    >>> length_grouped_order([5, 1, 5, 1], batch_size=2, steps=2, seed=0)
    [2, 0, 1, 3]
    """
    random = np.random.default_rng(seed)
    batches, waiting = [], np.empty(0, dtype=int)
    while len(batches) < steps:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, random.permutation(len(lengths))])
        full = len(waiting) - len(waiting) % batch_size
        window = GROUPED_BATCHES * batch_size
        ready = []
        for start in range(0, full, window):
            part = waiting[start : min(start + window, full)]
            part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
            ready += np.split(part, len(part) // batch_size)
        batches += [ready[at] for at in random.permutation(len(ready))]
        waiting = np.concatenate([waiting[full:], random.permutation(len(lengths))])
    return [int(at) for batch in batches[:steps] for at in batch]


def _arguments(settings: Settings, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir="unused",  # nothing is saved by Trainer itself
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=settings.learning_rate,
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
        save_strategy="no",
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


def _accuracy(predicted) -> dict:
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def _test_metrics(logits: np.ndarray, labels: np.ndarray, classes: int) -> dict:
    from scipy.special import log_softmax
    from sklearn.metrics import f1_score, roc_auc_score

    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    chosen = logits.argmax(axis=1)
    return {
        "test_loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "test_accuracy": float((chosen == labels).mean()),
        "macro_f1": float(
            f1_score(labels, chosen, labels=range(classes), average="macro", zero_division=0)
        ),
        "auc": float(roc_auc_score(labels, log_probabilities[:, 1]))
        if classes == 2 and len(set(labels)) == 2
        else None,
    }


class _Live(TrainerCallback):
    """Pass Trainer's logs on as events, stop when asked to, and refuse a loss that is no number."""

    def __init__(self, settings, on_event, should_stop):
        self.settings, self.on_event, self.should_stop = settings, on_event, should_stop
        self.started = time.perf_counter()
        self.stopped = False

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs:
            return
        common = {"step": state.global_step, "steps": self.settings.steps}
        common["seconds"] = round(time.perf_counter() - self.started, 3)
        if "loss" in logs:
            self.check_finite(f"training loss at step {state.global_step}", logs["loss"])
            self.on_event({"event": "step", **common, "train_loss": logs["loss"]})
        elif "eval_loss" in logs:
            self.check_finite(f"validation loss at step {state.global_step}", logs["eval_loss"])
            self.on_event(
                {
                    "event": "evaluation",
                    **common,
                    "validation_loss": logs["eval_loss"],
                    "validation_accuracy": logs["eval_accuracy"],
                }
            )

    def check_finite(self, what, values):
        if not np.isfinite(values).all():
            raise AdaRankError(
                f"the {what} is not finite; lower the learning rate of "
                f"{self.settings.learning_rate:g}"
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self.should_stop():
            self.stopped = True
            control.should_training_stop = True
            control.should_evaluate = False
        return control
