"""What is learned: from a task's rows to batches, a loss and metrics.

An objective is all that a training or a comparison knows of a task. Nothing else looks at labels,
so that another kind of task is another class here.
"""

import hashlib

import numpy as np
from pyarrow import compute

from adarank_core.data.task import Task
from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.scoring.encoding import check_known, tokenised
from adarank_core.scoring.models import ModelBundle, load_model
from adarank_core.training.batches import LengthGroupedOrder
from adarank_core.training.metrics import cross_entropies, cross_entropy, metrics_of

__all__ = ["Classification", "lengths_of_rows", "objective_for"]


class Classification:
    """Texts with one label each, and a head that is drawn anew for them.

    Parameters
    ----------
    task : Task

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
    >>> objective = Classification(Task("mine", ("bad", "good"), rows, rows, rows))
    >>> objective.load("embedded").task_type
    'SEQ_CLS'
    >>> objective.sample(1, seed=0)[1]
    [1]
    """

    def __init__(self, task: Task):
        self.task = task

    def load(self, model: str, device: str = "auto", dtype: str = "auto") -> ModelBundle:
        """Load a model with a head for this task; PEFT's task type is the bundle's."""
        labels = len(self.task.label_names)
        return load_model(model, labels, "classification", device, dtype)

    def sha256(self) -> str:
        """Return a digest of all rows and of the labels' names.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
        >>> one, other = (Task("mine", names, rows, rows, rows) for names in ("ab", "ac"))
        >>> Classification(one).sha256() == Classification(other).sha256()
        False
        """
        from pandas.util import hash_pandas_object

        digest = hashlib.sha256(repr(tuple(self.task.label_names)).encode())
        for rows in (self.task.train, self.task.validation, self.task.test):
            hashes = hash_pandas_object(rows[["text", "label"]], index=False)
            digest.update(hashes.to_numpy().tobytes())
            digest.update(b"/")
        return digest.hexdigest()

    def sample(self, count: int, seed: int) -> tuple[Texts, list[int]]:
        """Draw training texts as `Task.sample_texts` does, with what is to be learned of each."""
        drawn = np.random.default_rng(seed).permutation(len(self.task.train))[:count]
        rows = self.task.train.iloc[drawn]
        return Texts(self.task.name, tuple(rows["text"]), sampled=True), list(rows["label"])

    def training_rows(self, count: int, seed: int):
        """Draw as many rows as a run will see; to tokenise all of a large task takes longer."""
        rows = self.task.train
        if len(rows) <= count:
            return rows
        return rows.iloc[np.random.default_rng(seed).permutation(len(rows))[:count]]

    def validation_rows(self, count: int):
        """Choose rows of all classes, in their proportion: files are often sorted by class.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"text": list("abcdefgh"), "label": [0, 0, 0, 0, 1, 1, 1, 1]})
        >>> task = Task("mine", ("bad", "good"), rows, rows, rows)
        >>> Classification(task).validation_rows(4)["label"].tolist()
        [0, 0, 1, 1]
        """
        rows = self.task.validation.sort_values("label", kind="stable")
        places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
        return rows.iloc[places.round().astype(int)]

    def tokenise(self, bundle: ModelBundle, rows, max_length: int):
        """Return rows as a `datasets.Dataset` of what the model reads and is to answer."""
        from datasets import Dataset

        tokens = tokenised(bundle, list(rows["text"]), max_length)
        check_known(bundle, list(rows["text"]), tokens["input_ids"])
        return Dataset.from_dict({**tokens, "labels": [int(label) for label in rows["label"]]})

    def order(self, data, batch_size: int, steps: int, seed: int) -> LengthGroupedOrder:
        """Return the order in which a run sees tokenised rows: batches have all classes."""
        return LengthGroupedOrder(
            lengths_of_rows(data), np.asarray(data["labels"]), batch_size, steps, seed
        )

    def collator(self, bundle: ModelBundle):
        """Return what makes a batch of tokenised rows."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(bundle.tokenizer)

    def logits(self, outputs, labels):
        """Return the logits of what a model gives in evaluation: T5's and BART's give more."""
        return outputs[0] if isinstance(outputs, tuple) else outputs

    def progress(self, predicted) -> dict[str, float]:
        """Return what is measured on validation while training goes on.

        Parameters
        ----------
        predicted : transformers.EvalPrediction
        """
        # Not Trainer's own loss, which has AdaLoRA's penalty in it.
        logits, labels = predicted.predictions, predicted.label_ids
        return {
            "validation_loss": cross_entropy(logits, labels),
            "validation_accuracy": float((logits.argmax(-1) == labels).mean()),
        }

    def metrics(self, predicted, split: str) -> dict[str, float | None]:
        """Return what a training is judged by, measured at its end; see `metrics_of`."""
        classes = len(self.task.label_names)
        return metrics_of(predicted.predictions, predicted.label_ids, classes, split)

    def of_every_text(self, predicted) -> dict[str, np.ndarray]:
        """Return what each test text came to, by the metric that is its mean."""
        logits, labels = predicted.predictions, predicted.label_ids
        return {
            "test_loss": cross_entropies(logits, labels).astype(np.float32),
            "test_accuracy": logits.argmax(axis=1) == labels,
        }

    def guessing(self) -> dict | None:
        """Return what guessing from the classes' frequencies in the test texts comes to.

        Returns
        -------
        dict
            ``accuracy`` of always naming the most frequent class; ``loss``, in nats, of giving
            every class its frequency; ``texts``, how many there are.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"text": list("abcd"), "label": [0, 1, 1, 1]})
        >>> Classification(Task("mine", ("bad", "good"), rows, rows, rows)).guessing()
        {'accuracy': 0.75, 'loss': 0.5623, 'texts': 4}
        """
        shares = self.task.test["label"].value_counts(normalize=True).to_numpy(float)
        loss = float(-(shares * np.log(shares)).sum())
        texts = len(self.task.test)
        return {"accuracy": float(shares.max()), "loss": round(loss, 4) + 0.0, "texts": texts}

    def check_metric(self, metric: str) -> None:
        """Raise `AdaRankError` if the test texts will not tell a metric.

        Examples
        --------
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"text": ["Good.", "Bad.", "So so."], "label": [1, 0, 2]})
        >>> task = Task("mine", ("bad", "good", "so so"), rows, rows, rows)
        >>> Classification(task).check_metric("auc")
        Traceback (most recent call last):
        ...
        adarank_core.errors.AdaRankError: the metric is 'auc', which is measured of two classes, ...
        """
        found = len(set(self.task.test["label"]))
        if metric == "auc" and not (len(self.task.label_names) == 2 == found):
            classes = found if found < 2 else len(self.task.label_names)
            raise AdaRankError(
                "the metric is 'auc', which is measured of two classes, but the test texts of "
                f"{self.task.name!r} have {classes}; give test_loss, test_accuracy or macro_f1"
            )


def lengths_of_rows(data) -> np.ndarray:
    """Return the number of tokens of each tokenised row.

    Examples
    --------
    >>> from datasets import Dataset
    >>> lengths_of_rows(Dataset.from_dict({"input_ids": [[1, 2, 3], [4]]}))
    array([3, 1], dtype=int32)
    """
    # Row by row it takes half a minute for a million; select() would leave this column as it is.
    return compute.list_value_length(data.data.column("input_ids")).to_numpy()


def objective_for(task: Task) -> Classification:
    """Return the objective that a task is trained with.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"text": ["Good.", "Bad."], "label": [1, 0]})
    >>> type(objective_for(Task("mine", ("bad", "good"), rows, rows, rows))).__name__
    'Classification'
    """
    return Classification(task)
