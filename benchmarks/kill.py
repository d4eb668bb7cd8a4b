"""Break a comparison in every way, go on with it, and hold its numbers against an unbroken one's.

Run it from the repository's root: ``python benchmarks/kill.py``. It prints a table in Markdown,
and ends with 1 where a number differs. One comparison of two arms is run without interruption.
Then the same one is killed (``kill -9`` from outside, at moments that ``--seed`` draws), stopped,
run out of disk and launched twice, and gone on with by ``--resume``. Equal means that all of
``verdict.json`` but seconds, and every byte of the trained adapters, are the same.

Checkpoints are written every half second here, not every half minute, so that a short comparison
has several; nothing else is changed. Linux only. The full disk is a small file system in memory,
which only root may mount: elsewhere that row is left out.
"""

import argparse
import errno
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the library is used where it lies, not installed

from adarank_core.runs import jobs  # noqa: E402
from adarank_core.training.checkpoints import WHOLE  # noqa: E402

COMMAND = """
import sys
from adarank_core.training import checkpoints
from adarank_core.__main__ import main
checkpoints.CHECKPOINT_SECONDS = 0.5
sys.exit(main(sys.argv[1:]))
"""
SERVER = """
import sys, time
from pathlib import Path
from adarank_core.runs import jobs
jobs.start(sys.argv[2:], Path(sys.argv[1]))
time.sleep(3600)
"""
ARMS = ("uniform", "adarank")
ASLEEP, PATIENCE = 20, 1800  # seconds: asleep, and to wait for anything
DISK = 64  # megabytes


# One comparison, and how far it is ---------------------------------------------------------------


class Comparison:
    """A comparison that can be launched again and again, and what it came to when left alone."""

    def __init__(self, command: list[str], work: Path):
        self.command, self.work = command, work
        self.processes: list[subprocess.Popen] = []
        self.whole = work / "whole"

    def run_unbroken(self) -> None:
        """Run it once, and learn the order of its events."""
        print_status("without interruption …")
        self.end(self.launch(self.whole))
        self.events = [event for event in recorded(self.whole) if "arm" in event]
        self.order = {key(event): at for at, event in enumerate(self.events)}

    def launch(self, folder: Path, *more: str) -> subprocess.Popen:
        """Start it as a process whose words go to a file that is not in its folder."""
        log = self.work / f"log-{len(self.processes)}.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *self.command, "--output", str(folder), *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                cwd=ROOT,
            )
        process.log = log
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        """Wait for a process that must come to a good end."""
        if process.wait(PATIENCE):
            raise RuntimeError(self.last_line(process))

    def last_line(self, process: subprocess.Popen) -> str:
        """Return the last line that a process wrote."""
        lines = process.log.read_text("utf-8").rstrip().split("\n")
        return lines[-1].replace(f"{self.work}/", "")

    def wait_for(self, process, at: int, folder: Path, since: int = 0, also=None) -> None:
        """Wait until the event at this place of the unbroken run, or a later one, is recorded."""
        limit = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < limit:
            come = [self.order.get(key(event), -1) for event in recorded(folder)[since:]]
            if max(come, default=-1) >= at and (also is None or also()):
                return
            time.sleep(0.002)
        raise RuntimeError(f"{self.words(at)}: that did not come")

    def place(self, kind: str, arm: str, part: float = 0.0) -> int:
        """Return the place of an arm's event, the one at this part of all of its kind."""
        fitting = [event for event in self.events if (event["event"], event["arm"]) == (kind, arm)]
        return self.order[key(fitting[min(int(part * len(fitting)), len(fitting) - 1)])]

    def moments(self, count: int, draw: random.Random) -> Iterator[tuple[int, float]]:
        """Draw moments, evenly over time: the place of the event before, and seconds after it."""
        times = [event["time"] for event in self.events]
        for moment in sorted(draw.uniform(times[0], times[-1]) for _ in range(count)):
            at = max(place for place, came in enumerate(times) if came <= moment)
            yield at, moment - times[at]

    def words(self, at: int) -> str:
        """Say what goes on after the event at this place."""
        event = self.events[at]
        of = f"{event['arm']}, seed {event['seed']}"
        if event["event"] == "score":
            return f"in scoring {of} ({event['done']} of {event['total']})"
        if event["event"] == "plan":
            return f"before step 1 of {of}"
        if event["event"] == "result":
            return f"after the test of {of}"
        tested = event["event"] == "evaluation" and event["step"] == event["steps"]
        return f"in the test of {of}" if tested else f"at step {event['step']} of {of}"

    def compared(self, folder: Path) -> dict:
        """Return whether nothing but seconds differs, and by how much a test loss does at most."""
        ours, theirs = (
            without_seconds(json.loads((each / "verdict.json").read_text("utf-8")))
            for each in (folder, self.whole)
        )
        pairs = zip(test_losses(ours), test_losses(theirs), strict=True)
        return {
            "equal": ours == theirs and adapters(folder) == adapters(self.whole),
            "difference": max(abs(our - their) for our, their in pairs),
        }


def key(event: dict) -> tuple:
    """Tell an event from all others of a run, but not from its twin in another run."""
    return tuple(event.get(name) for name in ("event", "arm", "seed", "step", "done"))


def recorded(folder: Path) -> tuple[dict, ...]:
    """Return the events so far."""
    return jobs.run_folder(folder).events if folder.exists() else ()


def without_seconds(data):
    """Leave out what no two runs have in common."""
    if isinstance(data, dict):
        kept = (name for name in data if not name.endswith("seconds"))
        return {name: without_seconds(data[name]) for name in kept}
    return [without_seconds(item) for item in data] if isinstance(data, list) else data


def test_losses(verdict: dict) -> list[float]:
    """Return all test losses of a verdict."""
    return [run["test_loss"] for arm in ARMS for run in verdict["arms"][arm]["runs"]]


def adapters(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every trained adapter."""
    files = folder.glob("runs/*/adapter/adapter_model.safetensors")
    return {path.parent.parent.name: path.read_bytes() for path in files}


def gone_on_from(events: tuple[dict, ...]) -> str:
    """Say where a run went on, by what it recorded after it was launched again."""
    for event in events:
        if event["event"] == "resumed":
            return f"step {event['step']} of {event['arm']}"
        if event["event"] == "score":
            return f"the scores of {event['arm']}"
        if event["event"] == "step":
            return f"step 0 of {event['arm']}"
    return "the verdict"


# What is done to it ------------------------------------------------------------------------------


def killed(run: Comparison, folder: Path, breaks: list[dict]) -> Iterator[dict]:
    """Kill it time after time, and go on each time.

    A break has the place that is waited for (``at``) and may have the seconds to ``wait`` then,
    what ``also`` has to be so, what is done ``then`` (it returns words), and its ``name``.
    """
    rows, seen = [], [0]
    process = run.launch(folder)
    for each in breaks:
        run.wait_for(process, each["at"], folder, seen[-1], each.get("also"))
        time.sleep(each.get("wait", 0))
        process.kill()
        happened = f"exit {process.wait()}, {jobs.run_folder(folder).state}"
        happened += each["then"]() if "then" in each else ""
        name = f"kill -9 {each.get('name', run.words(each['at']))}"
        rows.append({"done": name, "happened": happened})
        seen.append(len(recorded(folder)))
        process = run.launch(folder, "--resume")
    run.end(process)
    for row, since in zip(rows, seen[1:], strict=True):
        yield {**row, "from": gone_on_from(recorded(folder)[since:]), **run.compared(folder)}


def at_random_moments(run: Comparison, folder: Path, draw: random.Random, kills: int):
    """Kill it wherever it is, at moments that are spread evenly over its time."""
    breaks = []
    for at, wait in run.moments(kills, draw):
        breaks.append({"at": at, "wait": wait, "name": f"{run.words(at)}, {wait:.2f} s later"})
    yield from killed(run, folder, breaks)


def at_chosen_moments(run: Comparison, folder: Path, draw: random.Random, _):
    """Kill it where most could go wrong; once, the last line that it recorded is cut as well."""

    def incomplete():
        found = folder.glob(f"runs/{ARMS[1]}-*/checkpoints/checkpoint-*")
        return [path.name for path in found if not (path / WHOLE).exists()]

    def half_a_line():
        path = folder / "events.jsonl"
        data = path.read_bytes()
        path.write_bytes(data[: (data[:-1].rfind(b"\n") + 1 + len(data)) // 2])
        return ", the last line of events.jsonl cut in half"

    saving = {"also": incomplete, "then": lambda: f", left incomplete: {', '.join(incomplete())}"}
    breaks = [
        {"at": run.place("result", ARMS[0])},
        {"at": run.place("score", ARMS[1], 0.5)},
        {"at": run.place("step", ARMS[1]), "name": "while a checkpoint is written", **saving},
        {"at": run.place("step", ARMS[1], 0.7), "then": half_a_line},
        {"at": run.place("evaluation", ARMS[1], 1), "wait": draw.uniform(0, 1)},
    ]
    yield from killed(run, folder, breaks)


def server_killed(run: Comparison, folder: Path, *_):
    """Start it as the page does, from a process that is then killed with its whole group."""
    folder = jobs.new_run_folder("server", folder)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder), *run.command],
        cwd=ROOT,
        start_new_session=True,
    )
    at = run.place("step", ARMS[0], 0.3)
    try:
        run.wait_for(server, at, folder)
        os.killpg(server.pid, signal.SIGKILL)
        states = [jobs.run_folder(folder).state]
        while jobs.run_folder(folder).state == "running":
            time.sleep(0.1)
    except BaseException:
        jobs.cancel(folder)
        raise
    finally:
        server.kill()
        server.wait()
    states.append(jobs.run_folder(folder).state)
    done = f"kill -9 of the job's parent and its process group {run.words(at)}"
    yield {"done": done, "happened": ", then ".join(states), "from": "–", **run.compared(folder)}


def disk_full(run: Comparison, folder: Path, *_):
    """Fill the file system under it, then make room and go on."""
    with mounted(folder) as disk:
        folder, ballast = disk / "run", disk / "ballast"
        process, at = run.launch(folder), run.place("step", ARMS[1], 0.3)
        run.wait_for(process, at, folder)
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        happened = f"exit {process.wait(PATIENCE)}: {run.last_line(process)}"
        ballast.unlink()
        seen = len(recorded(folder))
        run.end(run.launch(folder, "--resume"))
        same = {"from": gone_on_from(recorded(folder)[seen:]), **run.compared(folder)}
        yield {"done": f"the disk full {run.words(at)}", "happened": happened, **same}


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a small file system in memory."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "adarank-kill", str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def asleep_and_launched_again(run: Comparison, folder: Path, *_):
    """Launch it twice at once; stop the one that works, and launch a third before it wakes up."""
    pair = [run.launch(folder), run.launch(folder)]
    while all(process.poll() is None for process in pair):
        time.sleep(0.05)
    [refused] = [process for process in pair if process.poll() is not None]
    [works] = [process for process in pair if process.poll() is None]
    at = run.place("step", ARMS[0], 0.5)
    run.wait_for(works, at, folder)
    works.send_signal(signal.SIGSTOP)
    slept = time.monotonic()
    third = run.launch(folder, "--resume")
    refusals = [f"exit {p.wait(PATIENCE)}: {run.last_line(p)}" for p in (refused, third)]
    time.sleep(max(0.0, ASLEEP - (time.monotonic() - slept)))
    state = jobs.run_folder(folder).state
    works.send_signal(signal.SIGCONT)
    slept = time.monotonic() - slept
    run.end(works)
    same = {"from": "–", **run.compared(folder)}
    done = f"SIGSTOP {run.words(at)}, SIGCONT {slept:.0f} s later"
    yield {"done": done, "happened": f"{state} while stopped, then finished", **same}
    names = "a second launch at the same time", "a launch with --resume while one is at work"
    for done, happened in zip(names, refusals, strict=True):
        yield {"done": done, "happened": happened, **same}


# The table ---------------------------------------------------------------------------------------


def print_status(message: str) -> None:
    """Say on standard error what goes on."""
    print(message, file=sys.stderr, flush=True)


def measured(run: Comparison, kills: int, seed: int) -> Iterator[dict]:
    """Do all of it."""
    draw = random.Random(seed)
    ways = at_random_moments, at_chosen_moments, server_killed, disk_full
    for way in (*ways, asleep_and_launched_again):
        print_status(f"{way.__name__.replace('_', ' ')} …")
        try:
            yield from way(run, run.work / way.__name__, draw, kills)
        except subprocess.CalledProcessError as error:  # by mount
            print_status(f"left out: {error.stderr.decode().strip()}")


def markdown(rows: list[dict]) -> str:
    """Return the rows as a table."""
    head = "| what was done | what happened | gone on from | equal | largest difference |"
    lines = [head, "|---" * 5 + "|"]
    for row in rows:
        equal = "yes" if row["equal"] else "**no**"
        cells = (row["done"], row["happened"], row["from"], equal, f"{row['difference']:g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run it once unbroken, break it in every way, print the table; 1 where a number differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="docstrings")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5, help="at random moments")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--json", type=Path, metavar="PATH")
    asked = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line has it
    command = ["compare", "--task", asked.task, "--model", asked.model, "--arms", ",".join(ARMS)]
    command += ["--steps", str(asked.steps), "--batch-size", str(asked.batch_size)]
    command += ["--average-rank", "2", "--trials", "2"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="adarank-kill-") as work:
        run = Comparison(command, Path(work))
        try:
            run.run_unbroken()
            rows = list(measured(run, asked.kills, asked.seed))
        finally:
            for process in run.processes:
                process.kill()
                process.wait()
    cores, seconds = len(os.sched_getaffinity(0)), round(time.perf_counter() - started)
    versions = {**jobs.versions(), "machine": platform.machine()}
    print(markdown(rows), f"`{' '.join(command)}` on {cores} cores, {seconds} s.", sep="\n\n")
    print(", ".join(f"{name} {number}" for name, number in versions.items()) + ".")
    if asked.json:
        report = {"command": command, "cores": cores, "versions": versions, "rows": rows}
        asked.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0 if all(row["equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
