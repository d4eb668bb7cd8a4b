"""How a comparison is run again: the shell command and the Python program that stand for it."""

import shlex
from dataclasses import replace
from pathlib import Path

import streamlit as st

from adarank_core.comparison.request import ComparisonRequest
from adarank_core.errors import AdaRankError
from adarank_core.runs.jobs import Run
from adarank_core.server_paths import without_paths
from adarank_core.training.settings import Settings

__all__ = ["command", "draw_how_again", "snippet"]

SETTINGS = ("steps", "batch_size", "learning_rate", "max_length")  # those that have a flag


def command(config: dict, output: str) -> str:
    """Return the shell command that runs a comparison into a new folder.

    Parameters
    ----------
    config : dict
        As a run keeps it.
    output : str

    Examples
    --------
    >>> config = {"model": "embedded", "task": "/srv/up/mine.csv", "arms": ["uniform"],
    ...           "seeds": [0], "settings": {"steps": 10}}
    >>> command(config, "again")[:72]
    'python -m adarank_core compare --model=embedded --task=mine.csv --arms=u'
    """
    words = ["python", "-m", "adarank_core", "compare", *_request(config).flags()]
    return shlex.join([*words, f"--output={output}"])


def snippet(config: dict, output: str) -> str:
    """Return Python source that runs a comparison into a new folder, and prints what it finds.

    Parameters
    ----------
    config : dict
        As a run keeps it.
    output : str

    Examples
    --------
    >>> config = {"model": "embedded", "task": "docstrings", "arms": ["uniform"], "seeds": [0],
    ...           "settings": {"steps": 10}}
    >>> "settings=Settings(steps=10)" in snippet(config, "again")
    True
    """
    request, usual = _request(config), Settings()
    own = {name: getattr(request.settings, name) for name in SETTINGS}
    own = ", ".join(f"{name}={v!r}" for name, v in own.items() if v != getattr(usual, name))
    rates = request.learning_rates
    asked = {
        "output": repr(output),
        "average_rank": repr(request.average_rank),
        "seeds": repr(list(request.seeds)),
        "trials": repr(request.trials) if request.trials is not None else "",
        "settings": f"Settings({own})" if own else "",
        "learning_rates": repr(rates if isinstance(rates, str) else list(rates)) if rates else "",
        "alpha": repr(request.alpha) if request.alpha != "proportional" else "",
        "metric": repr(request.metric) if request.metric != "test_loss" else "",
        "smallest_of_interest": repr(request.smallest_of_interest or ""),
    }
    asked = {name: value for name, value in asked.items() if value not in ("", "''")}
    lines = [
        "import adarank_core as ar",
        "from adarank_core.comparison.sentences import describe",
        *(["from adarank_core.training.settings import Settings"] if own else []),
        "",
        "verdict = ar.compare(",
        f"    {request.model!r},",
        f"    ar.load_task({request.task!r}),",
        f"    {list(request.arms)!r},",
        *(f"    {name}={value}," for name, value in asked.items()),
        ")",
        "for compared in verdict.primary:",
        "    print(describe(compared, verdict))",
    ]
    return "\n".join(lines) + "\n"


def draw_how_again(run: Run) -> None:
    """Draw both, folded; nothing where it is not known what the run was asked for.

    Parameters
    ----------
    run : Run
    """
    output = f"{run.folder.name}-again"
    try:
        words, source = command(run.config, output), snippet(run.config, output)
    except AdaRankError:  # not known yet, or damaged, which the run's state tells
        return
    with st.expander("The same in a shell and in Python"):
        st.code(words, language="shell", wrap_lines=True)
        st.code(source, language="python", wrap_lines=True)


def _request(config: dict) -> ComparisonRequest:
    """Read what was asked for; files are called as they are where somebody has them."""
    request = ComparisonRequest.from_dict(config)
    arms = tuple(Path(arm).name if arm.endswith(".json") else arm for arm in request.arms)
    names = {"model": without_paths(request.model), "task": Path(request.task).name}
    return replace(request, arms=arms, **names)
