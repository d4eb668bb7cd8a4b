"""Processes that work for this one: they tell what they do, and end when they are let go of.

A process tells its events as JSON lines on its standard output. On its standard input a line asks
it to stop after its current step, with what it has kept, and the end of it (the process that
started it is gone) ends it at once. So nothing goes on writing behind a run that was killed.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress

from adarank_core.files import event_in
from adarank_core.hardware import cores, gpus

__all__ = ["connect_to_parent", "run_workers", "threads_each", "worker_events"]

POLL_SECONDS = 0.5  # that parents look whether they are to stop
PATIENCE = 10.0  # seconds that a process gets to end once it is let go


def threads_each(processes: int) -> int:
    """Return how many threads each of several processes may use: its share of this one's.

    Examples
    --------
    >>> threads_each(1000)
    1
    """
    own = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(own) if own.isdecimal() else cores()) // processes)


def run_workers(
    commands: Sequence[Sequence[str]],
    on_event: Callable[[dict], None],
    should_stop: Callable[[], bool],
    threads: int = 1,
) -> bool:
    """Start processes that `connect_to_parent` and pass their events on until all have ended.

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
    >>> import sys
    >>> script = "from adarank_core.workers import connect_to_parent;"
    >>> script += "connect_to_parent()[0]({'event': 'step'})"
    >>> run_workers([[sys.executable, "-c", script]], print, lambda: False)
    {'event': 'step'}
    True
    """
    with closing(worker_events(commands, should_stop, threads)) as events:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            on_event(event)


def worker_events(
    commands: Sequence[Sequence[str]], should_stop: Callable[[], bool], threads: int = 1
) -> Generator[dict, None, bool]:
    """Yield what processes tell one by one, as `run_workers` passes it on; return what it does.

    Closed before its end, it lets go of the processes, which end at once.

    Examples
    --------
    >>> import sys
    >>> list(worker_events([[sys.executable, "-c", ""]], lambda: False))
    []
    """
    lines: queue.Queue[bytes | None] = queue.Queue()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    workers, names = [], gpus()
    try:
        for at, command in enumerate(commands):
            if names:  # each sees one GPU alone
                environment["CUDA_VISIBLE_DEVICES"] = names[at % len(names)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            # In a session of its own: Ctrl-C is for this process, which then lets go of it.
            worker = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
            workers.append(worker)
            threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
        going, stopped = len(workers), False
        while going:
            with suppress(queue.Empty):
                line = lines.get(timeout=POLL_SECONDS)
                if line is None:
                    going -= 1
                elif (event := event_in(line)) is not None:
                    yield event
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


def connect_to_parent() -> tuple[Callable[[dict], None], Callable[[], bool]]:
    """Connect this process with the one that started it with `run_workers`; end when that is gone.

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
