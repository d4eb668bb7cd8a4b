"""What the commands share: types of their options, bars, tables, and where results are written."""

import json
import os
import shlex
import stat
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from adarank_core.errors import AdaRankError, printable
from adarank_core.files import KINDS_OF_FILE, read_json, write_text
from adarank_core.runs.jobs import run_folder

__all__ = [
    "Watch",
    "bar",
    "on_error_stream",
    "output_folder",
    "print_status",
    "refuse_inputs",
    "table",
    "writable_folder",
    "write",
]

on_error_stream = Console(stderr=True)
# What a terminal that knows only ASCII is shown instead.
IN_ASCII = {ord("±"): "+/-", ord("…"): "...", ord("·"): "-", ord("×"): "x", ord("−"): "-"}

# What a run had whose config.json is from before it could be chosen.
OLDER = {"alpha": "proportional"}

UNFOLDED = 1_000  # columns, where nobody's terminal is written to
NARROWEST = 40  # columns; on a terminal that says it has 0 a table would be lost

# What a folder may hold in which no run has begun: from who starts the process or tags it, and
# from a process that ended before it wrote what it was asked for.
NOT_BEGUN = ("log.txt", "command.json", "cancel", "lock", "tags.json")


def _check_writable(path: str | None) -> str | None:
    """Refuse a place for the result before anything is computed for it."""
    if path in (None, "-"):
        return path
    target, why = Path(path), ""
    try:
        if not path or "\0" in path:
            why = "it has no name" if not path else "a null character is in its name"
        elif not target.parent.is_dir():
            why = "there is no such folder"
        elif target.is_dir():
            why = "it is a folder"
        elif target.is_fifo() or target.is_socket():
            why = "it is no file"
        elif not os.access(target if target.exists() else target.parent, os.W_OK):
            why = "it is read-only"
    except (OSError, ValueError) as error:  # such as a name that is too long
        why = getattr(error, "strerror", None) or str(error)
    if why:
        raise AdaRankError(f"{path!r} cannot be written ({why}); give another file")
    return path


def writable_folder(name: str) -> Path:
    """Return a place for a folder; refuse one that cannot be before anything is computed for it.

    A link to a folder is one: whoever put it there wants the files on another disk.

    Raises
    ------
    typer.BadParameter
        If it has no name, is no folder, or cannot be made or written into.

    Examples
    --------
    >>> writable_folder("run").name
    'run'
    """
    if not name:  # which would be the working folder
        raise typer.BadParameter("the output folder has no name; give one, or . for this one")
    path, why = Path(name), ""
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # fails where no folder can have such a name
        place = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
        if not place.exists():
            why = "a link to nothing"
        elif not place.is_dir():
            why = KINDS_OF_FILE.get(stat.S_IFMT(place.stat().st_mode), "a file")
        elif not os.access(place, os.W_OK | os.X_OK):
            why = "read-only"
        why = why and f"{'it' if place == path else repr(place.name)} is {why}"
    except (OSError, ValueError) as error:  # such as a name that is too long
        why = getattr(error, "strerror", None) or str(error)
    if why:
        message = AdaRankError(f"{name!r} cannot be written ({why}); give another folder")
        raise typer.BadParameter(str(message))
    return path


def refuse_inputs(json_path: str | None, *inputs: str | Path | None) -> None:
    """Raise `AdaRankError` where the result would be written over a file that is read.

    Parameters
    ----------
    json_path : str or None
    inputs : str or pathlib.Path or None
        Files, folders with files that are read, such as a model's, and names that are no paths.

    Examples
    --------
    >>> refuse_inputs("-", Path("scores.json"))
    """
    if json_path in (None, "-") or not Path(json_path).is_file():
        return
    target = Path(json_path).resolve()
    for path in inputs:
        try:
            read = path is not None and Path(path).exists()
            same = read and (Path(path).samefile(target) or _is_of(target, Path(path)))
        except (OSError, ValueError):  # a name that no path has
            continue
        if same:
            raise AdaRankError(
                f"--json is {json_path!r}, which is read by this command; give another file"
            )


def _is_of(target: Path, folder: Path) -> bool:
    """Tell whether a file is one of a folder's own, and no result that was written there."""
    if not target.is_relative_to(folder.resolve()):
        return False
    try:
        return not str(read_json(target).get("format", "")).startswith("adarank-")
    except (AdaRankError, AttributeError):
        return True


TRIALS_HELP = (
    "Trials, that is noisy models a module: fast, 4 to 16 by default; paired, 8 pairs of them."
)
Model = Annotated[str, typer.Option(help="'embedded', a Hub id or a local folder.")]
TaskName = Annotated[str, typer.Option(help="'docstrings', a Hub task, a file or a folder.")]
Json = Annotated[
    str | None,
    typer.Option("--json", help="Write the result here; '-' is stdout.", callback=_check_writable),
]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")]
Dtype = Annotated[
    str, typer.Option(help="'auto' (the checkpoint's), 'float32', 'bfloat16' or 'float16'.")
]
Seed = Annotated[int, typer.Option(help="Draws noise, head, order of data and dropout.")]
Steps = Annotated[int, typer.Option(help="Optimizer steps.")]
Output = Annotated[
    Path | None,
    typer.Option(
        help="Folder for all that the run makes.", parser=writable_folder, metavar="<path>"
    ),
]
MaxLength = Annotated[int, typer.Option(help="Longer texts are cut to this many tokens.")]
BatchSize = Annotated[int, typer.Option(help="Texts an optimizer step.")]
LearningRate = Annotated[float, typer.Option(help="Peak of the linear schedule.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --output, or start it there.")
]
Queue = Annotated[
    bool, typer.Option("--queue", help="Wait for the runs that were started before this one.")
]


class Watch:
    """A run's recorder that also shows what it records on standard error, mostly as bars.

    Parameters
    ----------
    recorder
        As `adarank_core.runs.jobs.open_run` gives it.
    steps : int
        Of each training.
    goes_on : bool
        Whether the one training of this run was begun before.

    Examples
    --------
    >>> import tempfile
    >>> from adarank_core.runs.jobs import open_run, run_folder
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_run(folder, {}) as recorder, Watch(recorder, steps=9) as watch:
    ...     watch.record({"event": "turn"})
    >>> [event["event"] for event in run_folder(folder).events]
    ['started', 'turn', 'finished']
    """

    def __init__(self, recorder, steps: int, goes_on: bool = False):
        self.recorder, self.folder, self.should_stop = (
            recorder,
            recorder.folder,
            recorder.should_stop,
        )
        self.bar, self.steps, self.rows, self.goes_on = bar(), steps, {}, goes_on

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.rows:
            self.bar.stop()
        if kind is KeyboardInterrupt:
            place = shlex.quote(str(self.folder))
            print_status(
                f"what has finished stays; the same command goes on with --resume --output {place}"
            )

    def record(self, event: dict) -> None:
        """Record an event, and show it where it tells of progress."""
        self.recorder.record(event)
        if event["event"] == "queued":
            print_status(f"waiting for other runs; place {event['place']} in the queue")
        elif event["event"] == "notice":
            print_status(event["message"])
        elif event["event"] == "resumed":
            self.goes_on = False
            name = f"{_training_name(event)}: " if "arm" in event else ""
            print_status(f"{name}going on from step {event['step']} of {self.steps}")
        elif event["event"] in ("step", "score"):
            if self.goes_on:
                self.goes_on = False
                print_status("no checkpoint can be gone on from, so the training begins again")
            self._move_bar(event)

    def _move_bar(self, event: dict) -> None:
        scoring = event["event"] == "score"
        name = _training_name(event)
        name = f"ranks of {name}" if scoring else name
        done, total = (event["done"], event["total"]) if scoring else (event["step"], self.steps)
        if name not in self.rows:
            self.bar.start()  # not before there is something to show
            self.rows[name] = self.bar.add_task(printable(name), total=total)
        loss = "" if scoring else f" · train loss {event['train_loss']:.3f}"
        self.bar.update(self.rows[name], completed=done, description=printable(name) + loss)


def _training_name(event: dict) -> str:
    """Call the training that an event tells of by its arm and its seed or learning rate."""
    name = event.get("arm", "run")
    if "search" in event:
        return f"{name} learning rate {event['search']:g}"
    return f"{name} seed {event['seed']}" if "seed" in event else name


def bar(shown: bool = True) -> Progress:
    """Return progress bars on standard error, with the time left.

    Examples
    --------
    >>> bar(shown=False).disable
    True
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
        console=on_error_stream,
        disable=not shown,
    )


def print_status(message: str, fraction: float | None = None) -> None:
    """Say something on standard error; where a share done is given, only to who watches.

    Examples
    --------
    >>> print_status("reading", 0.5)
    """
    if fraction is not None and not on_error_stream.is_terminal:
        return  # progress is for who watches, not for a file
    on_error_stream.print(printable(message), highlight=False, markup=False, soft_wrap=True)


def table(title: str, columns, rows) -> None:
    """Print a table.

    Examples
    --------
    >>> table("ranks", ("module", "rank"), [("query", "8")])  # doctest: +ELLIPSIS
    ranks...
    """
    console = Console()
    # A name that is cut in two cannot be copied, so lines are folded on a narrow terminal alone.
    console.width = max(console.width, NARROWEST if console.is_terminal else UNFOLDED)
    shown = partial(_as_text, ascii_only=console.options.ascii_only)
    slim = {"box": SIMPLE_HEAD, "show_edge": False, "pad_edge": False}
    table = Table(title=shown(title), title_justify="left", **slim)
    for column in columns:
        table.add_column(shown(column), overflow="fold")
    for row in rows:
        table.add_row(*map(shown, row))
    console.print(table)


def _as_text(cell: str, ascii_only: bool = False) -> Text:
    """Return a cell as it is: no markup, nothing that a terminal would take for a command."""
    if ascii_only:
        cell = cell.translate(IN_ASCII).encode("ascii", "backslashreplace").decode()
    return Text(printable(cell))


def write(data: dict, path: str | None) -> None:
    """Write JSON to a file, or to standard output where the path is ``-``.

    Raises
    ------
    AdaRankError
        If the file cannot be written.

    Examples
    --------
    >>> write({"rank": 8}, "-")
    {
     "rank": 8
    }
    """
    if path is None:
        return
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        if Path(path).exists() and not Path(path).is_file():  # such as /dev/null
            Path(path).write_text(text, encoding="utf-8")
        else:
            write_text(Path(path), text)
    except OSError as error:
        raise AdaRankError(f"{path!r} cannot be written ({error.strerror})") from None


def output_folder(
    output: Path | None, config: dict, resume: bool, may_differ: tuple[str, ...] = ()
) -> Path | None:
    """Refuse a folder that is in use, or to resume what was asked for otherwise.

    To resume in a folder where no run has begun starts it: one command serves the first start and
    every restart. A link to a folder is as good as the folder: who has put it there wants the run
    on another disk.

    Parameters
    ----------
    output : pathlib.Path or None
    config : dict
        What is asked for now.
    resume : bool
    may_differ : tuple of str
        Keys of ``config`` that a run may be resumed without or with other values of.

    Returns
    -------
    pathlib.Path or None
        ``output``.

    Raises
    ------
    AdaRankError

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> output_folder(folder, {"seed": 0}, resume=False) == folder
    True
    """
    if resume and output is None:
        raise AdaRankError("--resume needs --output, the folder of the run to go on with")
    if output is None:
        return None
    if _has_not_begun(output):
        return output
    if not resume:
        raise AdaRankError(
            f"the output folder {str(output)!r} is not empty; give a new one, or --resume to go "
            "on with what is in it"
        )
    if not (output / "config.json").exists():
        raise AdaRankError(
            f"there is no run to resume in {str(output)!r}, which holds other things and no "
            "config.json; give the folder of a run or an empty one"
        )
    old = read_json(output / "config.json")
    for key in config:
        had = old.get(key, OLDER.get(key)) if isinstance(old, dict) else None
        same = had == config[key] or (had is None and not config[key])  # of an older version
        if key not in may_differ and not same:
            what, now = key, config[key]
            if isinstance(now, dict) and isinstance(had, dict):  # say which of them
                what = next(name for name in {**now, **had} if now.get(name) != had.get(name))
                now, had = now.get(what), had.get(what)
            raise AdaRankError(
                f"{what} is {now!r}, but the run in {str(output)!r} had {had!r}; "
                "resume with the same values"
            )
    was = run_folder(output)
    if was.state == "damaged":
        print_status(f"the run was damaged: {was.message.partition(';')[0]}; it goes on to mend it")
    return output


def _has_not_begun(folder: Path) -> bool:
    if folder.is_dir():
        return all(path.name in NOT_BEGUN for path in folder.iterdir())
    return not folder.exists()
