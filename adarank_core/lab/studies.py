"""All studies by their names, and how one is run: each unit kept as it comes, some at once."""

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.files import write_json
from adarank_core.lab import (
    data_size,
    generalisation,
    learning_rate,
    noise,
    rank_binds,
    reset,
    text_source,
    transfer,
    trials_and_texts,
    which_score,
)
from adarank_core.lab.bench import Bench
from adarank_core.lab.study import Study, StudyProgress, StudyRequest, StudyResult
from adarank_core.versions import versions
from adarank_core.workers import threads_each, worker_events

__all__ = ["STUDIES", "measure_share", "study_iter", "study_named"]

# To add a study is to add a file and a line here.
_FILES = (
    trials_and_texts,
    text_source,
    noise,
    transfer,
    learning_rate,
    rank_binds,
    data_size,
    generalisation,
    reset,
    which_score,
)
#: Every study by its name.
STUDIES: Mapping[str, Study] = {file.STUDY.name: file.STUDY for file in _FILES}


def study_named(name: str) -> Study:
    """Return a study.

    Raises
    ------
    AdaRankError
        If there is none of this name.

    Examples
    --------
    >>> study_named("text-source").name
    'text-source'
    """
    if name not in STUDIES:
        raise AdaRankError(f"the study {name!r} is unknown; choose from {', '.join(STUDIES)}")
    return STUDIES[name]


def study_iter(
    request: StudyRequest,
    output: Path,
    *,
    task: str | None = None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    at_once: int = 1,
) -> Iterator[StudyProgress]:
    """Do a study, yielding as it goes on; the last progress carries the result with the answer.

    What was measured in ``output`` before, of the same model, task and settings, is taken over.
    After every unit ``output/study.json`` has the rows so far; its answer is empty until all is
    measured.

    Parameters
    ----------
    request : StudyRequest
    output : pathlib.Path
    task : str, optional
        Where the task is read, if not at the request's own name for it.
    on_event : callable
        Called with ``"notice"`` events (``message``), and what trainings tell.
    should_stop : callable
        Asked after every step; when it says so nothing more is yielded. The generator can also be
        closed at any point.
    at_once : int
        Units measured at the same time on a processor, each in a process of its own. Of one of
        `STUDIES` only.

    Yields
    ------
    StudyProgress

    Raises
    ------
    AdaRankError
        If the study cannot be done with this model or task. What is measured stays.
    OSError
        If the folder cannot be written, as on a full disk.

    Examples
    --------
    >>> import tempfile
    >>> request = StudyRequest(study_named("text-source"))
    >>> steps = study_iter(request, Path(tempfile.mkdtemp()))
    >>> next(steps).now
    'loading the model and the task'
    >>> steps.close()
    """
    study, bench = request.study, Bench(request, output, task, on_event, should_stop)
    yield StudyProgress(0, 0, "loading the model and the task")
    if should_stop():
        return
    units, known = study.units(bench), versions()
    device = bench.bundle.model.device
    settings = {**request.to_dict()["settings"], "device": str(device)}
    measured: dict[int, dict] = {}

    def so_far(now: str) -> StudyProgress:
        found = [{**units[place], **measured[place]} for place in sorted(measured)]
        rows = study.rows(found, request.settings)
        whole = len(measured) == len(units)
        answer, details = (study.answer(rows), study.details(rows)) if whole else ("", "")
        result = StudyResult(study.name, settings, known, tuple(rows), answer, details)
        write_json(output / "study.json", result.to_dict())
        return StudyProgress(len(measured), len(units), now, result)

    def take_over(place: int) -> None:
        found = bench.kept(place, units[place])
        if found is not None:
            measured[place] = found

    for place in range(len(units)):
        take_over(place)
    if measured:
        yield so_far("what was measured before")
    if at_once > 1 and device.type == "cpu" and len(units) - len(measured) > 1:
        shares = [f"--part={at}/{at_once}" for at in range(at_once)]
        commands = [
            [sys.executable, "-m", "adarank_core", *request.arguments(), f"--output={output}", one]
            for one in shares
        ]
        with closing(worker_events(commands, should_stop, threads_each(at_once))) as events:
            for event in events:
                if event["event"] != "unit":
                    on_event(event)
                    continue
                take_over(event["place"])
                yield so_far(_called(units[event["place"]]))
        if should_stop() and len(measured) < len(units):
            return
    # One after another: all, or what the other processes could not measure.
    for place, unit in enumerate(units):
        if place in measured:
            continue
        now, done = _called(unit), len(measured)
        yield StudyProgress(done, len(units), now)
        with closing(_measure(bench, place, unit, measured)) as shares:
            for share in shares:
                if should_stop():
                    return
                yield StudyProgress(done + min(share, 1.0), len(units), now)
        if place not in measured:
            return
        yield so_far(now)
        if should_stop() and len(measured) < len(units):
            return


def measure_share(
    request: StudyRequest,
    output: Path,
    share: tuple[int, int],
    *,
    task: str | None = None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Measure some of a study's units for another process, which does the study in this folder.

    Parameters
    ----------
    request : StudyRequest
    output : pathlib.Path
    share : tuple of int
        Which one, from 0 on, and of how many: whole seeds where there are enough, so that none is
        scored twice.
    task : str, optional
    on_event : callable
        Called with ``"unit"`` events (``place``), too.
    should_stop : callable
    """
    bench = Bench(request, output, task, on_event, should_stop)
    units, (at, of) = request.study.units(bench), share
    seeds = [unit.get("seed", 0) for unit in units]
    keys = seeds if len({*seeds}) >= of else range(len(units))
    for place, unit in enumerate(units):
        if keys[place] % of != at or bench.kept(place, unit) is not None:
            continue
        measured: dict[int, dict] = {}
        with closing(_measure(bench, place, unit, measured)) as shares:
            for _ in shares:
                if should_stop():
                    return
        if place not in measured:
            return
        on_event({"event": "unit", "place": place})


def _called(unit: dict) -> str:
    """Return what a unit is called while it is at work."""
    return ", ".join(map(str, unit.values()))


def _measure(
    bench: Bench, place: int, unit: dict, measured: dict[int, dict]
) -> Generator[float, None, None]:
    """Measure one unit, yielding the share done; keep it, here and there, unless stopped."""
    started = time.perf_counter()
    found = yield from bench.request.study.measure(bench, unit)
    if found is not None:
        found["seconds"] = round(time.perf_counter() - started, 3)
        bench.keep(place, unit, found)
        measured[place] = found
