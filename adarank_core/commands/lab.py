"""The command that does a study: ``lab``."""

import json
import re
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import (
    Device,
    Dtype,
    Json,
    Model,
    Output,
    Queue,
    Resume,
    Seed,
    TaskName,
    Watch,
    bar,
    output_folder,
    print_status,
    refuse_inputs,
    table,
    write,
)
from adarank_core.commands.train import has_turn
from adarank_core.comparison.inputs import keep_input, model_path
from adarank_core.errors import AdaRankError, printable
from adarank_core.lab.studies import STUDIES, measure_share, study_iter, study_named
from adarank_core.lab.study import StudyProgress, StudyRequest, StudyResult
from adarank_core.runs import jobs
from adarank_core.workers import connect_to_parent, threads_each

__all__ = ["lab"]

# A training gains little by a second thread, and each of two processes holds the model.
AT_ONCE = 2


def lab(
    name: Annotated[str | None, typer.Argument(help="Of the study; --list names them.")] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Name all studies, or NAME's settings.")
    ] = False,
    model: Model = "embedded",
    task: TaskName = "docstrings",
    seed: Seed = 0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of the settings that NAME --list shows, as repeats=3."),
    ] = None,
    output: Output = None,
    resume: Resume = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    queue: Queue = False,
    part: Annotated[str | None, typer.Option("--part", hidden=True)] = None,
    json_path: Json = None,
) -> None:
    """Do a study of the method itself: one sentence of answer, and with --json its rows."""
    if listed or name is None:
        _list(json_path, name)
        return
    refuse_inputs(json_path, task, model)
    own = _own_settings(changes or [])
    request = StudyRequest(study_named(name), model_path(model), task, seed, device, dtype, own)
    if part is not None:
        _measure_part(request, output, part)
        return
    config = request.config()
    folder = output_folder(output, config, resume) or jobs.new_run_folder("lab")
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps=0) as watch:
        result = _study(request, watch, queue)
    print_status(f"all that the run made is in {folder}")
    if result is not None:
        write(result.to_dict(), json_path)
        if json_path != "-":
            print(printable(" ".join(filter(None, (result.answer, result.details)))))


def _list(json_path: str | None, name: str | None) -> None:
    """Show all studies with their questions, or one's settings, or write either as JSON."""
    studies = STUDIES.values() if name is None else [study_named(name)]
    if json_path is not None:
        about = {
            study.name: {"question": study.question, "settings": dict(study.defaults)}
            for study in studies
        }
        write({"studies": about}, json_path)
    if json_path == "-":
        return
    if name is None:
        table("studies", ("name", "question"), [(s.name, s.question) for s in studies])
        return
    (study,) = studies
    print(study.question)
    rows = [(setting, _written(value)) for setting, value in study.defaults.items()]
    table(f"settings of {name}", ("name", "default"), rows)


def _own_settings(changes: list[str]) -> dict:
    """Read ``name=value``; a value that is no JSON is a word, and commas make a list."""
    own = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise AdaRankError(f"--set is {change!r}; give name=value, such as repeats=3")
        words = [_value(word) for word in value.removeprefix("[").removesuffix("]").split(",")]
        own[name] = words if len(words) > 1 or value.startswith("[") else words[0]
    return own


def _written(value) -> str:
    """Write a setting as ``--set`` reads it."""
    if not isinstance(value, list):
        return str(value)
    words = ",".join(map(str, value))
    return words if len(value) > 1 else f"[{words}]"


def _value(word: str):
    try:
        found = json.loads(word)
    except ValueError:
        return word
    return found if isinstance(found, int | float) else word


def _measure_part(request: StudyRequest, folder: Path | None, part: str) -> None:
    """Measure a share of another process's study, which says what is wrong with it."""
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", part)
    at, of = map(int, match.groups()) if match else (0, 0)
    if at >= of or folder is None:
        raise AdaRankError(f"--part is {part!r}; give a share such as 0/2, and the run's --output")
    on_event, should_stop = connect_to_parent()
    with suppress(AdaRankError, OSError):
        task = keep_input(folder, request.task)
        measure_share(
            request, folder, (at, of), task=task, on_event=on_event, should_stop=should_stop
        )


def _study(request: StudyRequest, watch: Watch, queue: bool) -> StudyResult | None:
    """Do the study in a run's folder under a bar; None when stopped."""
    folder = watch.folder
    task = keep_input(folder, request.task)
    if not has_turn(watch, queue, request.device):
        return None
    steps = study_iter(
        request,
        folder,
        task=task,
        on_event=lambda event: watch.record(event) if event["event"] == "notice" else None,
        should_stop=watch.should_stop,
        at_once=min(AT_ONCE, threads_each(1)) if request.study.trains else 1,
    )
    progress, shown, row = StudyProgress(0, 0, ""), bar(), None
    with ExitStack() as stack:
        stack.enter_context(closing(steps))
        for progress in steps:
            if progress.total and row is None:  # not before there is something to show
                row = stack.enter_context(shown).add_task(request.study.name, total=progress.total)
            about = printable(f"{request.study.name}: {progress.now}")
            if row is not None:
                shown.update(row, completed=progress.done, description=about)
            if progress.done == int(progress.done):
                counts = {"done": int(progress.done), "total": progress.total}
                watch.recorder.record({"event": "study", **counts, "now": progress.now})
    finished = progress.result is not None and progress.result.answer
    return progress.result if finished else None
