"""One arm of LoRA: the same numbers again, the same conditions for every arm, honest ends."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from adarank_core import AdaRankError, RankPlan, adaptable_modules, allocate, finetune, load_model
from adarank_core.comparison.planner import plain_scores, same_rank
from adarank_core.ranks.allocation import lora_parameters
from adarank_core.scoring.baselines import depth_ramp
from adarank_core.training import checkpoints
from adarank_core.training import finetuning as finetuning_file
from adarank_core.training.adapters import adapted
from adarank_core.training.batches import PartsTrainer
from adarank_core.training.finetuning import Settings, Training
from adarank_core.training.objectives import Classification
from adarank_core.training.text_results import read_text_results

QUICK = Settings(steps=6, batch_size=8, learning_rate=5e-3, evaluations=2)
TIMES = ("train_seconds", "seconds", "examples_per_second", "memory_mb")


@pytest.fixture(scope="module")
def plans(tiny_bert):
    """Uniform ranks, and very unlike ones with as many parameters."""
    plain = plain_scores(load_model(tiny_bert))
    ramp = allocate(depth_ramp(plain, up=True), 4, budget_by="parameters")
    return {"uniform": same_rank(tiny_bert, 4), "ramp": ramp}


@pytest.fixture(scope="module")
def run(tiny_bert, tiny_task, plans, tmp_path_factory):
    """One finished run: its result, its events and its folder."""
    folder, events = tmp_path_factory.mktemp("run"), []
    result = finetune(
        tiny_bert,
        tiny_task,
        plans["uniform"],
        QUICK,
        seed=3,
        output=folder,
        on_event=events.append,
    )
    return result, events, folder


def without_times(data):
    return {key: value for key, value in data.items() if key not in TIMES}


# One run


def test_a_run_gives_the_promised_numbers(run, plans):
    result, _, _ = run
    assert list(result) == [
        "seed",
        "test_loss",
        "test_accuracy",
        "macro_f1",
        "auc",
        "train_seconds",
        "steps",
        "lora_parameters",
        "ranks",
    ]
    assert result["ranks"] == plans["uniform"].ranks
    assert result["seed"] == 3 and result["steps"] == 6
    assert result["lora_parameters"] == plans["uniform"].budget["lora_parameters"]
    assert all(0 <= result[key] <= 1 for key in ("test_accuracy", "macro_f1", "auc"))


def test_events_have_the_promised_keys(run):
    steps = [event for event in run[1] if event["event"] == "step"]
    evaluations = [event for event in run[1] if event["event"] == "evaluation"]
    assert len(steps) + len(evaluations) == len(run[1])
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in evaluations] == [3, 6]
    for event in steps:
        assert set(event) >= {"step", "steps", "seconds", "train_loss"}
        assert event["examples_per_second"] > 0 and 50 < event["memory_mb"] < 50_000
    for event in evaluations:
        assert set(event) >= {"step", "seconds", "validation_loss", "validation_accuracy"}
    seconds = [event["seconds"] for event in run[1]]
    assert seconds == sorted(seconds)


def test_validation_on_the_way_sees_every_class_of_a_sorted_file(tiny_task, tiny_bert, monkeypatch):
    seen = []
    real = Classification.tokenise

    def tokenise(objective, bundle, rows, length):
        seen.append(rows["label"].value_counts().to_dict())
        return real(objective, bundle, rows, length)

    monkeypatch.setattr(Classification, "tokenise", tokenise)
    monkeypatch.setattr(finetuning_file, "VALIDATION_ROWS", (8, 8))
    in_order = tiny_task.validation.sort_values("label", ignore_index=True)
    task = dataclasses.replace(tiny_task, validation=in_order)
    finetune(tiny_bert, task, same_rank(tiny_bert, 2), QUICK)
    assert {0: 4, 1: 4} in seen


def test_the_saved_adapter_names_no_folder_of_this_machine(run, tiny_bert):
    _, _, folder = run
    for path in (folder / "adapter").iterdir():
        assert tiny_bert.encode() not in path.read_bytes(), path.name
    assert "path or id of the base model" in (folder / "adapter" / "README.md").read_text()


def test_the_test_numbers_are_those_of_the_saved_adapter(run, tiny_bert, tiny_task):
    from peft import PeftModel
    from sklearn.metrics import f1_score, roc_auc_score

    result, _, folder = run
    bundle = load_model(tiny_bert, head="classification")
    model = PeftModel.from_pretrained(bundle.model, folder / "adapter").eval()
    labels = torch.tensor(tiny_task.test["label"].tolist())
    with torch.inference_mode():
        tokens = bundle.tokenizer(list(tiny_task.test["text"]), padding=True, return_tensors="pt")
        logits = model(tokens["input_ids"], tokens["attention_mask"]).logits
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert result["test_loss"] == pytest.approx(loss, rel=0.02)
    chosen = logits.argmax(dim=1)
    accuracy = (chosen == labels).float().mean().item()
    assert result["test_accuracy"] == pytest.approx(accuracy, abs=0.05)
    assert result["macro_f1"] == pytest.approx(f1_score(labels, chosen, average="macro"), abs=0.05)
    assert result["auc"] == pytest.approx(
        roc_auc_score(labels, logits[:, 1] - logits[:, 0]), abs=0.03
    )
    # Texts are predicted by length, and kept in the order of the rows.
    kept = read_text_results(folder, result)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    assert np.corrcoef(kept["test_loss"], losses)[0, 1] > 0.99
    assert (kept["test_accuracy"] == (chosen == labels).numpy()).mean() > 0.9


def test_one_seed_gives_the_same_numbers_again(run, tiny_bert, tiny_task, plans):
    events = []
    again = finetune(tiny_bert, tiny_task, plans["uniform"], QUICK, seed=3, on_event=events.append)
    assert without_times(again) == without_times(run[0])
    assert list(map(without_times, events)) == list(map(without_times, run[1]))
    other = finetune(tiny_bert, tiny_task, plans["uniform"], QUICK, seed=4)
    assert other["test_loss"] != again["test_loss"]


def test_training_learns(tiny_bert, tiny_task, plans):
    settings = Settings(steps=60, batch_size=16, learning_rate=1e-2, evaluations=1)
    events = []
    result = finetune(tiny_bert, tiny_task, plans["uniform"], settings, on_event=events.append)
    losses = [event["train_loss"] for event in events if event["event"] == "step"]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert result["test_accuracy"] > 0.65


def test_the_test_data_are_touched_once_and_last(tiny_bert, tiny_task, plans, monkeypatch):
    seen, real_predict, real_evaluate = [], Trainer.predict, Trainer.evaluate

    def predict(trainer, data, *arguments, **options):
        seen.append(("predict", len(data)))
        return real_predict(trainer, data, *arguments, **options)

    def evaluate(trainer, data=None, *arguments, **options):
        seen.append(("evaluate", len(trainer.eval_dataset if data is None else data)))
        return real_evaluate(trainer, data, *arguments, **options)

    monkeypatch.setattr(Trainer, "predict", predict)
    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    finetune(tiny_bert, tiny_task, plans["uniform"], QUICK)
    assert seen == [("evaluate", 32), ("evaluate", 32), ("predict", 48)]


# What arms share


def test_arms_start_from_one_head_and_one_function(tiny_bert, plans):
    models = {
        name: adapted(load_model(tiny_bert, labels=3, head="classification"), plan, seed=5).eval()
        for name, plan in plans.items()
    }
    heads, logits = [], []
    for model in models.values():
        trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        head = {n: w for n, w in trained.items() if "lora_" not in n}
        assert [n.split(".")[-1] for n in head] == ["weight", "bias"]
        heads.append(list(head.values()))
        with torch.inference_mode():
            logits.append(model(torch.tensor([[2, 5, 6, 3]])).logits)
    assert all(torch.equal(one, other) for one, other in zip(*heads, strict=True))
    assert torch.equal(*logits)


def test_arms_have_the_same_number_of_lora_parameters(tiny_bert, plans):
    plain = plain_scores(load_model(tiny_bert))
    counts = {name: lora_parameters(plain, plan.ranks) for name, plan in plans.items()}
    assert counts["uniform"] == counts["ramp"]
    assert plans["uniform"].ranks != plans["ramp"].ranks


def test_arms_see_the_same_batches(tiny_bert, tiny_task, plans, monkeypatch):
    seen, real = {}, PartsTrainer.training_step

    def training_step(trainer, model, inputs, *arguments):
        seen[name].append((inputs["input_ids"].tolist(), inputs["labels"].tolist()))
        return real(trainer, model, inputs, *arguments)

    monkeypatch.setattr(PartsTrainer, "training_step", training_step)
    for name, plan in plans.items():
        seen[name] = []
        finetune(tiny_bert, tiny_task, plan, QUICK, seed=2)
    assert len(seen["uniform"]) == 6 and seen["uniform"] == seen["ramp"]


def test_no_more_rows_are_tokenised_than_a_run_sees(tiny_bert, tiny_task, plans, monkeypatch):
    real, sizes, seen = Classification.tokenise, [], []

    def tokenise(objective, bundle, rows, length):
        sizes.append(len(rows))
        seen.extend(rows["text"] if len(sizes) == 1 else ())
        return real(objective, bundle, rows, length)

    monkeypatch.setattr(Classification, "tokenise", tokenise)
    finetune(tiny_bert, tiny_task, plans["uniform"], QUICK, seed=1)
    assert sizes == [48, 32, 48] and len(set(seen)) == 48  # train, validation, test
    assert set(seen) < set(tiny_task.train["text"]) and seen != list(tiny_task.train["text"][:48])
    sizes.clear()
    finetune(tiny_bert, tiny_task, plans["uniform"], Settings(steps=13, batch_size=8), seed=1)
    assert sizes == [96, 32, 48]


# Ends before the end


def test_a_run_that_is_told_to_stop_gives_nothing(tiny_bert, tiny_task, plans, tmp_path):
    events = []
    result = finetune(
        tiny_bert,
        tiny_task,
        plans["uniform"],
        QUICK,
        output=tmp_path,
        on_event=events.append,
        should_stop=lambda: len(events) >= 2,
    )
    assert result is None and [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    assert [event["step"] for event in events] == [1, 2, 3, 3]  # asked after every step


@pytest.mark.parametrize("steps", [1, 12])
def test_a_loss_that_is_no_number_is_told(tiny_bert, tiny_task, plans, steps):
    settings = Settings(steps=steps, batch_size=8, learning_rate=1e30)
    with pytest.raises(AdaRankError, match="lower the learning rate of 1e\\+30"):
        finetune(tiny_bert, tiny_task, plans["uniform"], settings)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seeds_out_of_range_are_refused(tiny_bert, tiny_task, plans, seed):
    with pytest.raises(AdaRankError, match="the seed is"):
        finetune(tiny_bert, tiny_task, plans["uniform"], QUICK, seed=seed)


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "classifier",
        "no.such.module",
        "bert.encoder.layer.0.attention.output.LayerNorm",
        "bert.embeddings.word_embeddings",
    ],
)
def test_a_plan_for_other_modules_is_refused(tiny_bert, tiny_task, name):
    plan = RankPlan("other", {name: 2}, {name: 4})
    with pytest.raises(AdaRankError, match="use ranks made for this model"):
        finetune(tiny_bert, tiny_task, plan, QUICK)


def test_a_rank_above_the_module_is_refused(tiny_bert, tiny_task):
    names = [module.name for module in adaptable_modules(load_model(tiny_bert).model)]
    plan = RankPlan("tiny", {names[0]: 33}, {names[0]: 66})
    with pytest.raises(AdaRankError, match="is 33; it may be 32 at most"):
        finetune(tiny_bert, tiny_task, plan, QUICK)


@pytest.mark.parametrize(("native", "learns"), [(True, True), (True, False), (False, True)])
def test_bfloat16_is_for_machines_and_models_that_compute_in_it(
    tiny_bert, tiny_task, monkeypatch, native, learns
):
    given, arguments = [], finetuning_file._arguments
    monkeypatch.setattr(finetuning_file, "bf16_is_native", lambda _device: native)
    monkeypatch.setattr(finetuning_file, "learns_in_bfloat16", lambda bundle: learns)
    monkeypatch.setattr(
        finetuning_file, "_arguments", lambda *of: given.append(arguments(*of)) or given[0]
    )
    finetune(tiny_bert, tiny_task, same_rank(tiny_bert, 2), Settings(1, 4))
    assert given[0].bf16 is (native and learns)


@pytest.mark.parametrize("method", ["lora", "adalora", "head-only", "full"])
def test_to_cast_frozen_weights_once_changes_no_number(tiny_bert, tiny_task, monkeypatch, method):
    monkeypatch.setattr(finetuning_file, "bf16_is_native", lambda _device: True)
    plan = None if method in ("head-only", "full") else same_rank(tiny_bert, 3)
    found, cast = [], finetuning_file.cast_frozen

    def count(model):
        cast(model)
        found.append(sum(weight.dtype == torch.bfloat16 for weight in model.parameters()))

    for once in (count, lambda model: None):
        monkeypatch.setattr(finetuning_file, "cast_frozen", once)
        result = finetune(tiny_bert, tiny_task, plan, QUICK, method=method, seed=1)
        found.append(without_times(result))
    assert found[1] == found[2]
    assert (found[0] == 0) == (method == "full")


@pytest.mark.parametrize(("method", "share"), [("lora", 1), ("head-only", 1), ("full", 0.01)])
def test_all_weights_are_trained_at_a_hundredth_of_the_learning_rate(method, share):
    training = Training("tiny", None, None, QUICK, method)
    rate = finetuning_file._arguments(training, None, False, torch.device("cpu")).learning_rate
    assert rate == pytest.approx(share * QUICK.learning_rate)


@pytest.mark.parametrize("seen", [1, 2, 8])
def test_one_process_uses_one_device(monkeypatch, seen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    training = Training("tiny", None, None, QUICK)
    arguments = finetuning_file._arguments(training, None, False, torch.device("cuda:0"))
    assert not arguments.use_cpu and arguments.device.type == "cuda"
    assert arguments._n_gpu == seen  # for as many Trainer would make copies
    assert arguments.n_gpu == 1 and arguments.train_batch_size == QUICK.batch_size
    assert arguments.parallel_mode.value == "not_parallel"


def test_trainer_prints_nothing(tiny_bert, tiny_task, plans, capsys, tmp_path, monkeypatch):
    finetune(tiny_bert, tiny_task, plans["uniform"], QUICK)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)  # a bar for each
    finetune(tiny_bert, tiny_task, None, QUICK, method="head-only", output=tmp_path)
    assert "Writing" not in capsys.readouterr().err


def test_the_result_is_a_plain_dictionary_for_other_programs(run):
    assert type(run[0]) is dict and json.loads(json.dumps(run[0])) == run[0]


def test_an_encoder_decoder_is_trained_and_tested(tiny_bert, tiny_task, tmp_path):
    from transformers import AutoTokenizer, T5Config, T5ForSequenceClassification

    torch.manual_seed(0)
    config = T5Config(vocab_size=24, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    config.decoder_start_token_id, config.eos_token_id = 0, 3
    T5ForSequenceClassification(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    result = finetune(str(tmp_path), tiny_task, same_rank(str(tmp_path), 2), Settings(2, 4))
    assert math.isfinite(result["test_loss"]) and result["steps"] == 2


def test_rows_are_tokenised_part_by_part_and_a_cancel_is_heard_between(
    tiny_bert, tiny_task, run, monkeypatch, tmp_path
):
    monkeypatch.setattr(finetuning_file, "TOKENISED_AT_ONCE", 7)
    options = {"settings": QUICK, "seed": 3, "output": tmp_path}
    plan, asked, real = same_rank(tiny_bert, 4), [], Classification.tokenise
    whole = finetune(tiny_bert, tiny_task, plan, **options)
    assert without_times(whole) == without_times(run[0])  # the same numbers, to the bit

    def tokenise(objective, bundle, rows, length):
        asked.append(len(rows))
        return real(objective, bundle, rows, length)

    monkeypatch.setattr(Classification, "tokenise", tokenise)
    options["should_stop"] = lambda: len(asked) == 2
    assert finetune(tiny_bert, tiny_task, plan, **options) is None
    assert asked == [7, 7]


@pytest.mark.parametrize("method", ["lora", "head-only", "full"])
def test_a_checkpoint_in_bfloat16_is_trained_with_float32_adapters(
    tiny_bert, tiny_task, tmp_path, method
):
    bundle = load_model(tiny_bert)
    bundle.model.to(torch.bfloat16).save_pretrained(
        tmp_path / "model",
        state_dict={k: v for k, v in bundle.model.state_dict().items() if "classifier" not in k},
    )
    bundle.tokenizer.save_pretrained(tmp_path / "model")
    plan = same_rank(tiny_bert, 2) if method == "lora" else None
    options = {"method": method, "output": tmp_path / "run"}
    found = finetune(str(tmp_path / "model"), tiny_task, plan, QUICK, **options)
    whole = finetune(
        str(tmp_path / "model"),
        tiny_task,
        plan,
        dataclasses.replace(QUICK, dtype="float32"),
        method=method,
    )
    assert found["test_loss"] == pytest.approx(whole["test_loss"], rel=0.02)
    if method == "lora":
        saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


@pytest.mark.parametrize("setting", [{"device": "cuda:7"}, {"dtype": "int4"}])
def test_a_device_or_type_that_is_not_here_is_refused_at_once(setting):
    [(name, value)] = setting.items()
    with pytest.raises(AdaRankError, match=f"{name} is '{value}'"):
        Settings(**setting)
