"""What is learned of a task: nothing but an objective knows its labels."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from transformers import EvalPrediction

from adarank_core.scoring.models import load_model
from adarank_core.training import objectives
from adarank_core.training.objectives import Classification, lengths_of_rows, objective_for

CORE = Path(objectives.__file__).resolve().parents[1]


@pytest.fixture
def objective(tiny_task):
    return objective_for(tiny_task)


def test_a_model_gets_a_head_with_one_output_a_class(objective, tiny_bert, tiny_gpt2):
    for folder in (tiny_bert, tiny_gpt2):
        bundle = objective.load(folder)
        assert bundle.task_type == "SEQ_CLS" and bundle.model.config.num_labels == 2


def test_a_sample_is_that_of_the_task_with_its_labels(objective, tiny_task):
    for count, seed in ((16, 3), (1, 0), (1000, 1)):
        texts, labels = objective.sample(count, seed)
        assert texts == tiny_task.sample_texts(count, seed=seed)
        known = dict(zip(tiny_task.train["text"], tiny_task.train["label"], strict=True))
        assert labels == [known[text] for text in texts.items]


@pytest.mark.parametrize("part", ["text", "label", "label_names"])
def test_the_digest_is_of_texts_labels_and_names(objective, tiny_task, part):
    assert objective.sha256() == Classification(tiny_task).sha256()
    if part == "label_names":
        other = dataclasses.replace(tiny_task, label_names=("poor", "good"))
    else:
        changed = tiny_task.test.assign(**{part: tiny_task.test[part].iloc[::-1].to_numpy()})
        other = dataclasses.replace(tiny_task, test=changed)
    assert Classification(other).sha256() != objective.sha256()


def test_tokenised_rows_become_padded_batches(objective, tiny_bert, tiny_task):
    bundle = load_model(tiny_bert)
    data = objective.tokenise(bundle, tiny_task.train[:9], 6)
    assert data["labels"] == tiny_task.train["label"][:9].tolist()
    batch = objective.collator(bundle)([data[at] for at in range(9)])
    assert batch["input_ids"].shape == (9, 6) == batch["attention_mask"].shape
    assert batch["labels"].tolist() == list(data["labels"])
    assert sorted(objective.order(data, 3, 3, seed=0)) == list(range(9))
    assert lengths_of_rows(data).tolist() == [len(row) for row in data["input_ids"]]


def test_what_is_watched_is_named_after_validation_and_the_end_after_its_split(objective):
    predicted = EvalPrediction(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    watched = objective.progress(predicted)
    assert list(watched) == ["validation_loss", "validation_accuracy"]
    assert watched["validation_accuracy"] == 0.5
    found = objective.metrics(predicted, "test")
    assert list(found) == ["test_loss", "test_accuracy", "macro_f1", "auc"]
    assert found["test_loss"] == watched["validation_loss"]


def test_nothing_else_looks_at_labels():
    files = [*CORE.glob("training/*.py"), *CORE.glob("comparison/*.py"), *CORE.glob("runs/*.py")]
    files = [path for path in files if path.name not in ("objectives.py", "metrics.py")]
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            words = {"label", "labels", "label_names", "label_ids"}
            name = getattr(node, "attr", None) or getattr(node, "id", None)
            said = node.value if isinstance(node, ast.Constant) else None
            assert name not in words and said not in words, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("outputs", ["logits", ("logits", "encoder's last states")])
def test_only_logits_are_kept_of_what_a_model_gives(outputs, tiny_task):
    assert Classification(tiny_task).logits(outputs, None) == "logits"
