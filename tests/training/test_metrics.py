"""Metrics against scikit-learn and torch."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from adarank_core.training.metrics import cross_entropy, metrics_of


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_are_those_of_the_libraries(classes):
    draw = np.random.default_rng(classes)
    logits = draw.normal(size=(50, classes)).astype(np.float32)
    labels = draw.integers(0, classes, size=50)
    loss = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    found = metrics_of(logits, labels, classes, "validation")
    assert (
        found["validation_loss"] == cross_entropy(logits, labels) == pytest.approx(loss, rel=1e-5)
    )
    assert found["validation_accuracy"] == np.mean(logits.argmax(1) == labels)
    assert found["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    auc = roc_auc_score(labels, logits[:, 1] - logits[:, 0]) if classes == 2 else None
    assert found["auc"] == (None if auc is None else pytest.approx(auc))


def test_a_class_without_texts_counts_in_f1_and_has_no_auc():
    logits, labels = np.array([[3.0, 0.0], [2.0, 1.0]]), np.array([0, 0])
    found = metrics_of(logits, labels, 2, "test")
    assert found["test_accuracy"] == 1 and found["macro_f1"] == 0.5 and found["auc"] is None
