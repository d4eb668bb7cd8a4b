"""Scoring split by module over processes, such as ``accelerate launch`` and ``torchrun`` start.

A module's noise depends on its name and the seed alone, so each process scores some modules with
all texts, and the scores are those of a single process.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace

from adarank_core.errors import AdaRankError
from adarank_core.scoring.scores import Scores

__all__ = ["gathered", "is_main", "is_split", "own_part"]


def is_split() -> bool:
    """Tell whether this process is one of several that were started together.

    Examples
    --------
    >>> is_split()
    False
    """
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def is_main() -> bool:
    """Tell whether this process is the one that writes and tells.

    Examples
    --------
    >>> is_main()
    True
    """
    return not is_split() or int(os.environ.get("RANK") or 0) == 0


def own_part(names: Sequence[str]) -> str:
    """Return a regular expression that matches this process's share of the modules.

    Every n-th module of n processes: layers cost unlike amounts, so each takes some of all.

    Parameters
    ----------
    names : sequence of str
        All modules that are to be scored, equal in all processes.

    Raises
    ------
    AdaRankError
        If there are more processes than modules.

    Examples
    --------
    >>> own_part(["0.query", "1.query"])
    '^(?:0\\\\.query|1\\\\.query)$'
    """
    state = _state()
    if len(names) < state.num_processes:
        raise AdaRankError(
            f"there are {state.num_processes} processes for {len(names)} modules; start fewer"
        )
    own = names[state.process_index :: state.num_processes]
    return f"^(?:{'|'.join(map(re.escape, own))})$"


def gathered(scores: Scores) -> Scores:
    """Return the scores of all processes' modules, in every process.

    Each process must call it once; the processes part afterwards.

    Parameters
    ----------
    scores : Scores
        Of the modules of `own_part`.

    Examples
    --------
    >>> gathered(Scores("tiny", "paper", "fast", 1.0, 0, {}, ())).modules
    ()
    """
    from accelerate.utils import gather_object

    state = _state()
    parts = gather_object([scores.modules])
    longest = max(map(len, parts))
    modules = [part[at] for at in range(longest) for part in parts if at < len(part)]
    state.destroy_process_group()
    return replace(scores, modules=tuple(modules))


def _state():
    """Join the other processes; on CPUs, accelerate does so only where it is told of them."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return PartialState(cpu=on_cpu)
