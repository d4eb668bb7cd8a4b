"""Seeds of a comparison trained side by side, each share of them in a process of its own.

A process trains whole seeds, so that no two write into one run's folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from adarank_core.workers import run_workers, threads_each

__all__ = ["train"]


def train(comparison, task: str, processes: int) -> bool:
    """Search the learning rates of a comparison here, then train its seeds side by side.

    The verdict is not written: call `compare` with the same arguments afterwards. It takes the
    results over and trains what is missing, with all cores: the seeds of a process that was
    killed, and each arm that failed in one of them, which is tried once more alone (where memory
    ran out beside the others, it may do now).

    Parameters
    ----------
    comparison : Comparison
    task : str
        Where `load_task` finds the comparison's task.
    processes : int
        At most one for every seed is started.

    Returns
    -------
    bool
        False when stopped.
    """
    if not comparison.search():
        return False
    arms = [arm for arm in comparison.request.arms if arm not in comparison.failed]
    if not arms:
        return True  # `compare` says why
    parts = [comparison.request.seeds[at::processes] for at in range(processes)]
    commands = [_command(comparison.output, task, arms, part) for part in parts if part]
    threads = threads_each(len(commands))
    return run_workers(commands, comparison.on_event, comparison.should_stop, threads)


def _command(output: Path, task: str, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Return a share's command; all else that it is asked for stands in the folder."""
    return [
        *(sys.executable, "-m", "adarank_core", "compare", "--part", f"--output={output}"),
        *(f"--task={task}", f"--arms={','.join(arms)}", f"--seeds={','.join(map(str, seeds))}"),
    ]
