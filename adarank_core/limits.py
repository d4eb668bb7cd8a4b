"""What a demo that strangers may use is held to, and who may see whose runs.

``ADARANK_DEMO=1`` turns all caps on; each has a variable of its own, which also holds without a
demo. ``ADARANK_PRIVATE=1`` puts up the walls between visitors alone, for a machine that is shared.
A cap is held where work is started, so that no widget, link or command gets round it.
"""

import math
import os
import re
from dataclasses import dataclass, field, fields

from adarank_core.errors import AdaRankError, quoted

__all__ = [
    "Limits",
    "check_limit",
    "check_model_name",
    "check_task_name",
    "hide_token",
    "is_demo",
    "is_listed",
    "is_walled",
    "limit",
    "limits",
    "models",
    "tasks",
    "variable",
]

DEMO, PRIVATE = "ADARANK_DEMO", "ADARANK_PRIVATE"
MODELS, TASKS = "ADARANK_MODELS", "ADARANK_TASKS"
ANY = "*"
OFF = ("", "0", "false", "no", "off")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def _cap(most: float | None, what: str):
    return field(default=most, metadata={"what": what})


@dataclass(frozen=True)
class Limits:
    """The caps; their defaults are a demo's, and None is no cap.

    Examples
    --------
    >>> Limits().steps, Limits(steps=50).steps
    (200, 50)
    """

    model_mb: float | None = _cap(500, "MB of weights of a model from the Hub")
    file_mb: float | None = _cap(None, "MB of a file that is read")
    upload_mb: float | None = _cap(5, "MB of an upload")
    upload_texts: float | None = _cap(2000, "texts in an upload")
    text_characters: float | None = _cap(5000, "characters in a text")
    trials: float | None = _cap(32, "trials (noisy models a module)")
    arms: float | None = _cap(4, "arms of a comparison")
    seeds: float | None = _cap(3, "seeds of a comparison")
    seeds_at_once: float | None = _cap(1, "seeds that are trained at the same time")
    learning_rates: float | None = _cap(3, "learning rates to try")
    steps: float | None = _cap(200, "optimizer steps of a training")
    batch_size: float | None = _cap(64, "texts a step")
    text_tokens: float | None = _cap(128, "tokens of a text")
    run_minutes: float | None = _cap(10, "minutes that a run may work")
    own_runs: float | None = _cap(2, "runs of one visitor that are at work or wait")
    all_runs: float | None = _cap(12, "runs of all visitors that are at work or wait")
    runs_at_once: float | None = _cap(2, "runs at work at the same time")
    scorings: float | None = _cap(4, "scorings on the pages at the same time")
    own_mb: float | None = _cap(200, "MB that one visitor's runs and uploads take")
    all_mb: float | None = _cap(5000, "MB that all visitors' runs and uploads take")
    run_hours: float | None = _cap(24, "hours until a run or an upload is deleted")


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in OFF


def is_demo() -> bool:
    """Tell whether this is a demo for strangers.

    Examples
    --------
    >>> is_demo()
    False
    """
    return _is_on(DEMO)


def is_walled() -> bool:
    """Tell whether visitors see their own runs alone, and nothing of this machine's folders.

    Examples
    --------
    >>> is_walled()
    False
    """
    return is_demo() or _is_on(PRIVATE)


def variable(name: str) -> str:
    """Return the variable of the environment that sets a cap.

    Examples
    --------
    >>> variable("steps")
    'ADARANK_MAX_STEPS'
    """
    return f"ADARANK_MAX_{name.upper()}"


def limit(name: str) -> float | None:
    """Return a cap, or None where there is none.

    Parameters
    ----------
    name : str
        A field of `Limits`.

    Raises
    ------
    AdaRankError
        If its variable is no number above 0.

    Examples
    --------
    >>> limit("steps") is None
    True
    """
    given = os.environ.get(variable(name), "").strip()
    if not given:
        return getattr(Limits, name) if is_demo() else None
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise AdaRankError(f"{variable(name)} is {given!r}; it must be a number above 0")
    return int(number) if number.is_integer() else number


def limits() -> Limits:
    """Return all caps as they are now.

    Examples
    --------
    >>> limits().steps is None
    True
    """
    return Limits(**{cap.name: limit(cap.name) for cap in fields(Limits)})


def check_limit(name: str, value: float) -> None:
    """Raise `AdaRankError` where a cap is exceeded, in a sentence that names it.

    Parameters
    ----------
    name : str
        A field of `Limits`.
    value : float

    Examples
    --------
    >>> check_limit("steps", 10**9)
    """
    most = limit(name)
    if most is not None and value > most:
        what = Limits.__dataclass_fields__[name].metadata["what"]
        raise AdaRankError(
            f"{_shown(value)} {what} are more than the {_shown(most)} that are allowed here "
            f"({variable(name)})"
        )


def _shown(value: float) -> str:
    if isinstance(value, int) and value < 10**15:
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) < 10**15 else quoted(value, 20)


# Names that stand for what is loaded --------------------------------------------------------------


def models() -> tuple[str, ...] | None:
    """Return the models that visitors may have, None where all may be had.

    ``$ADARANK_MODELS``, names with commas between them; ``*`` among them is any id of the Hub. By
    default a demo has the embedded model, and a private machine the Hub's too.

    Examples
    --------
    >>> models() is None
    True
    """
    return _listed(MODELS, ("embedded",), ("embedded", ANY))


def tasks(known: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the named tasks that visitors may have, None where all may be had.

    ``$ADARANK_TASKS``, names with commas between them; a demo has the embedded task by default.

    Examples
    --------
    >>> tasks(("docstrings", "trec")) is None
    True
    """
    listed = _listed(TASKS, ("docstrings",), known)
    return None if listed is None else tuple(name for name in known if name in listed)


def _listed(name: str, demo: tuple[str, ...], private: tuple[str, ...]) -> tuple[str, ...] | None:
    if not is_walled():
        return None
    given = os.environ.get(name, "").split(",")
    found = tuple(dict.fromkeys(one.strip() for one in given if one.strip()))
    return found or (demo if is_demo() else private)


def is_listed(name: str) -> bool:
    """Tell whether a model may be read from a folder of this machine, if it is one.

    Behind walls only what is on the list: whether any other folder exists is told to nobody.

    Examples
    --------
    >>> is_listed("models/mine")
    True
    """
    listed = models()
    return listed is None or name in listed


def check_model_name(name: str) -> None:
    """Raise `AdaRankError` unless visitors may have this model; no folder is looked at.

    Examples
    --------
    >>> check_model_name("models/mine")
    """
    listed = models()
    if listed is None or (ANY in listed and HUB_ID.fullmatch(name)):
        return
    offered = [one for one in listed if one != ANY]
    if name in offered:
        return
    offered += ["the id of a Hub model"] * (ANY in listed)
    raise AdaRankError(
        f"the model {name!r} is not offered here; give {' or '.join(map(_word, offered))}"
    )


def _word(name: str) -> str:
    return name if " " in name else quoted(name)


def check_task_name(name: str, known: tuple[str, ...]) -> None:
    """Raise `AdaRankError` where a task of the list ``known`` is not offered here.

    Examples
    --------
    >>> check_task_name("trec", ("docstrings", "trec"))
    """
    offered = tasks(known)
    if offered is not None and name in known and name not in offered:
        raise AdaRankError(
            f"the task {name!r} is not offered here; give {', '.join(offered) or 'a file'} or "
            "your own file"
        )


def hide_token() -> None:
    """In a demo, keep the operator's token of the Hugging Face Hub from being used for visitors.

    To be called before ``huggingface_hub`` is imported, which reads the environment only then.

    Examples
    --------
    >>> hide_token()
    """
    if is_demo():
        os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
        for name in TOKENS:
            os.environ.pop(name, None)
