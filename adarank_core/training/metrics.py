"""How good predictions are: cross-entropy, accuracy, macro-F1 and AUC; and of every text."""

import numpy as np

__all__ = ["cross_entropies", "cross_entropy", "metrics_of"]


def cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of every text, in nats.

    Parameters
    ----------
    logits : numpy.ndarray
        Texts × classes.
    targets : numpy.ndarray
        The right classes.

    Examples
    --------
    >>> cross_entropies(np.array([[0.0, 0.0], [0.0, 9.0]]), np.array([0, 1])).round(4).tolist()
    [0.6931, 0.0001]
    """
    from scipy.special import log_softmax

    return -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(targets)), targets]


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean of `cross_entropies`.

    Examples
    --------
    >>> round(cross_entropy(np.zeros((3, 2)), np.array([0, 1, 1])), 4)
    0.6931
    """
    return float(cross_entropies(logits, targets).mean())


def metrics_of(logits: np.ndarray, targets: np.ndarray, classes: int, split: str) -> dict:
    """Return the metrics of predictions for a split's texts.

    Parameters
    ----------
    logits, targets : numpy.ndarray
    classes : int
        Of the task; some may have no text.
    split : str
        Names the loss and the accuracy.

    Returns
    -------
    dict
        ``<split>_loss``, ``<split>_accuracy``, ``macro_f1`` and ``auc``, which is None unless
        there are two classes.

    Examples
    --------
    >>> found = metrics_of(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1]), 2, "test")
    >>> found["test_accuracy"], found["macro_f1"], found["auc"]
    (1.0, 1.0, 1.0)
    """
    from sklearn.metrics import f1_score, roc_auc_score

    chosen = logits.argmax(axis=1)
    both = classes == 2 and len(set(targets)) == 2
    return {
        f"{split}_loss": cross_entropy(logits, targets),
        f"{split}_accuracy": float((chosen == targets).mean()),
        "macro_f1": float(
            f1_score(targets, chosen, labels=range(classes), average="macro", zero_division=0)
        ),
        "auc": float(roc_auc_score(targets, logits[:, 1] - logits[:, 0])) if both else None,
    }
