"""What one training came to. Without torch, for whoever only reads it."""

from dataclasses import dataclass

from adarank_core.schemas import check_keys

__all__ = ["RunResult"]


@dataclass(frozen=True)
class RunResult:
    """What one training came to, as ``result.json`` has it.

    Parameters
    ----------
    seed : int
    metrics : dict
        By name, such as ``test_loss`` (nats a text), as the objective measures them.
    train_seconds : float
    steps, lora_parameters : int
    ranks : dict of str to int
        By module, as they are at the end; empty for a method without ranks.
    allocation_seconds : float, optional
        What it took to find the ranks, where they were found for this training.

    Examples
    --------
    >>> result = RunResult(0, {"test_loss": 0.5}, 2.5, 150, 1024, {"query": 8})
    >>> RunResult.from_dict(result.to_dict()) == result
    True
    """

    seed: int
    metrics: dict[str, float | None]
    train_seconds: float
    steps: int
    lora_parameters: int
    ranks: dict[str, int]
    allocation_seconds: float | None = None

    def to_dict(self) -> dict:
        """Return the dictionary of ``result.json``: the metrics stand among the other keys."""
        found = vars(self).copy()
        if self.allocation_seconds is None:
            del found["allocation_seconds"]
        del found["metrics"], found["seed"]
        return {"seed": self.seed, **self.metrics, **found}

    @classmethod
    def from_dict(cls, data: dict) -> "RunResult":
        """Build a result from the dictionary of ``result.json``.

        Raises
        ------
        AdaRankError
            If a key is missing.
        """
        own = ("seed", "train_seconds", "steps", "lora_parameters", "ranks")
        check_keys(data, own, "the result of a training")
        own += ("allocation_seconds",)
        metrics = {key: value for key, value in data.items() if key not in own}
        return cls(metrics=metrics, **{key: data[key] for key in own if key in data})
