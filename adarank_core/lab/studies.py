"""All studies by their names, and how one is run: unit after unit, each kept as it comes."""

import time
from collections.abc import Callable, Iterator, Mapping
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

__all__ = ["STUDIES", "study_iter", "study_named"]

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
    settings = {**request.to_dict()["settings"], "device": str(bench.bundle.model.device)}
    measured: list[dict] = []
    for place, unit in enumerate(units):
        now, found = ", ".join(map(str, unit.values())), bench.kept(place, unit)
        if found is None:
            yield StudyProgress(place, len(units), now)
            started = time.perf_counter()
            steps = study.measure(bench, unit)
            found = yield from _measured(steps, place, len(units), now, should_stop)
            if found is None:
                return
            found["seconds"] = round(time.perf_counter() - started, 3)
            bench.keep(place, unit, found)
        measured.append({**unit, **found})
        rows = study.rows(measured, request.settings)
        whole = len(measured) == len(units)
        answer, details = (study.answer(rows), study.details(rows)) if whole else ("", "")
        result = StudyResult(study.name, settings, known, tuple(rows), answer, details)
        write_json(output / "study.json", result.to_dict())
        yield StudyProgress(place + 1, len(units), now, result)
        if should_stop() and not answer:
            return


def _measured(steps, place: int, total: int, now: str, should_stop) -> Iterator[StudyProgress]:
    """Measure one unit, yielding progress; return what was measured, or None when stopped."""
    with closing(steps):
        while True:
            try:
                share = next(steps)
            except StopIteration as end:
                return end.value
            if should_stop():
                return None
            yield StudyProgress(place + min(share, 1.0), total, now)
