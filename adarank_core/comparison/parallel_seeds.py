"""Seeds of a comparison trained side by side, each share of them in a process of its own.

A process trains whole seeds, so that no two write into one run's folder, and tells its events as
JSON lines on its standard output. Its standard input is a leash: a line asks it to stop after its
current step, with its checkpoints kept, and the end of it (the process that started it is gone)
ends it at once. So nothing goes on writing behind a run that was killed.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from adarank_core.errors import AdaRankError
from adarank_core.files import event_in
from adarank_core.hardware import cores

__all__ = ["attend", "check_processes", "leash", "threads_each", "train"]

SECONDS_BETWEEN = 0.5  # that parents look whether they are to stop
PATIENCE = 10.0  # seconds that a process gets to end once it is let go


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
        Name that `load_task` knows the comparison's task by.
    processes : int
        At most one for every seed is started.

    Returns
    -------
    bool
        False when stopped.
    """
    if not comparison.search():
        return False
    arms = [arm for arm in comparison.arms if arm not in comparison.failed]
    if not arms:
        return True  # `compare` says why
    parts = [comparison.seeds[at::processes] for at in range(processes)]
    parts = [part for part in parts if part]
    commands = [_command(comparison, task, arms, part) for part in parts]
    threads = threads_each(len(commands))
    return attend(commands, comparison.on_event, comparison.should_stop, threads)


def _command(comparison, task: str, arms: Sequence[str], seeds: Sequence[int]) -> list[str]:
    settings, planner = comparison.settings, comparison.planner
    rates, trials = comparison.learning_rates, planner.trials
    return [
        *(sys.executable, "-m", "adarank_core", "compare", "--part"),
        *(f"--model={comparison.model}", f"--task={task}", f"--arms={','.join(arms)}"),
        f"--seeds={','.join(map(str, seeds))}",
        f"--average-rank={planner.average_rank!r}",
        f"--steps={settings.steps}",
        f"--batch-size={settings.batch_size}",
        f"--learning-rate={settings.learning_rate!r}",
        f"--max-length={settings.max_length}",
        f"--output={comparison.output}",
        *([f"--trials={trials}"] if trials is not None else []),
        *([f"--learning-rates={','.join(map(repr, rates))}"] if rates else []),
    ]


def check_processes(count: int) -> None:
    """Raise `AdaRankError` unless so many processes can work side by side.

    Examples
    --------
    >>> check_processes(2)
    """
    if count < 1:
        raise AdaRankError(f"side_by_side is {count}; it must be at least 1")


def threads_each(processes: int) -> int:
    """Return how many threads each of several processes may use: its share of this one's.

    Examples
    --------
    >>> threads_each(1000)
    1
    """
    own = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(own) if own.isdecimal() else cores()) // processes)


def attend(
    commands: Sequence[Sequence[str]],
    on_event: Callable[[dict], None],
    should_stop: Callable[[], bool],
    threads: int = 1,
) -> bool:
    """Start processes on a `leash` and pass their events on until all have ended.

    Parameters
    ----------
    commands : sequence of sequence of str
    on_event, should_stop : callable
        Called from this thread alone.
    threads : int
        Of each process.

    Returns
    -------
    bool
        False when they were stopped. How each one ended is not looked at: results tell.

    Examples
    --------
    >>> script = "from adarank_core.comparison.parallel_seeds import leash;"
    >>> script += "leash()[0]({'event': 'step'})"
    >>> attend([[sys.executable, "-c", script]], print, lambda: False)
    {'event': 'step'}
    True
    """
    lines: queue.Queue[bytes | None] = queue.Queue()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    workers = []
    try:
        for command in commands:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            # In a session of its own: Ctrl-C is for this process, which then lets go of it.
            worker = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
            workers.append(worker)
            threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
        going, stopped = len(workers), False
        while going:
            with suppress(queue.Empty):
                line = lines.get(timeout=SECONDS_BETWEEN)
                if line is None:
                    going -= 1
                elif (event := event_in(line)) is not None:
                    on_event(event)
            if not stopped and should_stop():
                stopped = True
                for worker in workers:
                    with suppress(OSError):  # it has ended
                        worker.stdin.write(b"stop\n")
                        worker.stdin.flush()
        return not stopped
    finally:
        for worker in workers:
            with suppress(OSError):
                worker.stdin.close()
        for worker in workers:
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def _read(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    stream.close()
    lines.put(None)


def leash() -> tuple[Callable[[dict], None], Callable[[], bool]]:
    """Put this process on the leash of the one that started it with `attend`.

    Returns
    -------
    on_event, should_stop : callable
        Passes an event to the other process, and tells whether that one asked to stop.
    """
    stopped = threading.Event()

    def listen():
        while os.read(0, 1024):
            stopped.set()
        os._exit(1)  # nobody takes what would still be done

    threading.Thread(target=listen, daemon=True).start()
    return lambda event: print(json.dumps(event), flush=True), stopped.is_set
