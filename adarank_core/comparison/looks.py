"""How often a comparison's verdict has been read: its folder keeps it, so nobody has to tell."""

from pathlib import Path

from adarank_core.comparison.entries import ClaimEntry
from adarank_core.comparison.judging import Declared
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.comparison.verdicts import Verdict
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, write_json
from adarank_core.schemas import validated

__all__ = ["count_look"]


def count_look(output: Path, request: ComparisonRequest) -> Declared:
    """Count a verdict among those that were read of a folder, and keep that in it.

    Where it is on what the last one was on, it is the same verdict once more and no new look.
    Arms that failed count as asked for, so that a repaired run is no new look either. Nor is it
    one to go on from a single seed with the same arms: one seed decides nothing, so nobody could
    have stopped there with a finding. (To go on with other arms, or with other seeds in place of
    that one, would be to choose by it.)

    Parameters
    ----------
    output : pathlib.Path
        Holds the ``comparison.json`` of a comparison that has begun. One of an older version has
        no ``looks`` in it; a ``verdict.json`` that lies there was read.
    request : ComparisonRequest
        What the verdict is on.

    Returns
    -------
    Declared

    Raises
    ------
    AdaRankError
        If ``comparison.json`` is damaged.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_json(folder / "comparison.json", {"planned_seeds": [0]})
    >>> for seeds in ((0,), (0, 1), (0, 1), (0, 1, 2)):
    ...     declared = count_look(folder, ComparisonRequest("m", "t", ("uniform",), seeds=seeds))
    >>> [look["seeds"] for look in declared.looks], declared.planned_seeds
    ([[0, 1], [0, 1, 2]], [0])
    """
    path = output / "comparison.json"
    kept = validated(read_json(path), ClaimEntry, "comparison.json")
    looks = kept["looks"] if "looks" in kept else _look_before(output)
    look = {
        "arms": list(request.arms),
        "seeds": list(request.seeds),
        "smallest_of_interest": request.smallest_of_interest,
    }
    planned = kept.get("planned_seeds", (looks or [look])[0]["seeds"])
    if not looks or _asked_about(looks[-1]) != _asked_about(look):
        undecided = bool(looks) and _goes_on_from_one_seed(looks[-1], look)
        looks = [*(looks[:-1] if undecided else looks), look]
    now = {**kept, "planned_seeds": planned, "looks": looks}
    if now != kept:
        write_json(path, now)
    return Declared(request.metric, request.smallest_of_interest, planned, looks)


def _asked_about(look: dict) -> tuple:
    """Return what makes a verdict another one; the order of arms and seeds does not."""
    return sorted(look["arms"]), look.get("smallest_of_interest"), sorted(look["seeds"])


def _goes_on_from_one_seed(before: dict, now: dict) -> bool:
    """Tell whether a look adds seeds to a single one, and changes nothing else."""
    *rest, seeds = _asked_about(before)
    *rest_now, seeds_now = _asked_about(now)
    return rest == rest_now and len(seeds) == 1 and set(seeds) < set(seeds_now)


def _look_before(output: Path) -> list[dict]:
    """Return the look that a verdict of an older version stands for, if it lies there."""
    try:
        verdict = Verdict.from_dict(read_json(output / "verdict.json"))
    except AdaRankError:
        return []
    seeds = [run["seed"] for about in verdict.arms.values() for run in about["runs"]]
    return [{"arms": list(verdict.arms), "seeds": sorted(set(seeds))}] if seeds else []
