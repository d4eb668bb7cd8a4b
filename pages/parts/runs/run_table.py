"""What the page Runs lists and lays side by side: pure functions from runs to tables and figures.

A folder may hold anything: what is missing or damaged in it is left empty, never an error.
"""

import shlex
from collections import Counter
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from adarank_core.comparison.arms import arm_label
from adarank_core.errors import quoted
from adarank_core.runs.curves import curve_table, mean_curve, seed_curves
from adarank_core.runs.jobs import Run, start_command
from adarank_core.server_paths import without_paths
from pages.parts.compare.asked import rate_of
from pages.parts.compare.outcome import model_label, task_label
from pages.parts.shared.arm_styles import arm_style
from pages.parts.shared.charts import ACCENT, GREY, drawn, hide_scale, set_layout
from pages.parts.shared.clock import local_time
from pages.parts.shared.curves import LIVE, results_table
from pages.parts.shared.own_words import STATES

__all__ = [
    "command",
    "differing",
    "finding",
    "groups",
    "kind",
    "label",
    "loss_curves",
    "matching",
    "overlay",
    "results",
    "row",
    "value_of",
]

#: Of the table of all runs; a phone shows the first three, 1,400 pixels the first seven.
COLUMNS = ["when", "task", "state", "verdict", "effect", "arms", "tags", "kind", "rank", "steps"]
COLUMNS += ["batch", "seeds", "rate", "model"]
RESULTS = ["arm", "run", "mean test loss", "mean test accuracy", "LoRA parameters", "seeds"]
FILLS = ("", "-open")


def kind(run: Run) -> str:
    """Return the command that made a run.

    Examples
    --------
    >>> from pathlib import Path
    >>> kind(Run(Path("20261124-230929-000001-finetune"), {}, "starting"))
    'finetune'
    """
    last = run.folder.name.rpartition("-")[2]
    return run.config.get("command") or (last if last in ("compare", "finetune", "lab") else "")


def label(run: Run) -> str:
    """Call a run by its time, its kind, its study if it is one, and its task.

    Examples
    --------
    >>> from pathlib import Path
    >>> label(Run(Path("20261124-230929-000001-compare"), {"task": "trec"}, "finished"))
    '2026-11-24 23:09 UTC · compare · trec'
    """
    task = task_label(run.config.get("task", ""))
    study = run.config.get("study", "")
    return " · ".join(part for part in (local_time(run), kind(run), study, task) if part)


def row(run: Run, summary: dict, tags: Sequence[str], stopping: bool = False) -> dict:
    """Return what the table says of a run, in words and numbers; None is a number not known.

    Parameters
    ----------
    run : Run
    summary : dict
        As `adarank_core.runs.store.summary` returns it.
    tags : sequence of str
    stopping : bool
        Whether it was asked to stop.

    Examples
    --------
    >>> from pathlib import Path
    >>> config = {"task": "own/mine.csv", "model": "embedded", "arms": ["adarank"], "seeds": [0, 1]}
    >>> run = Run(Path("20261124-230929-000001-compare"), config, "queued", place=2)
    >>> cells = row(run, {"verdict": "", "effect": ""}, ("draft",))
    >>> cells["state"], cells["arms"], cells["seeds"], cells["tags"], cells["rank"]
    ('queued (2)', 'adarank', '0, 1', 'draft', None)
    """
    config, settings = run.config, run.config.get("settings", {})
    seeds = config.get("seeds", [config["seed"]] if "seed" in config else [])
    state = f"queued ({run.place})" if run.state == "queued" and run.place else run.state
    return {
        "when": local_time(run),
        "kind": kind(run),
        "task": task_label(config.get("task", "")),
        "state": "stopping" if stopping else state,
        **summary,
        "arms": _arms(config),  # or the study
        "rank": config.get("average_rank"),
        "steps": settings.get("steps"),
        "batch": settings.get("batch_size"),
        "rate": rate_of(config) if settings else None,
        "seeds": ", ".join(map(str, seeds)),
        "tags": ", ".join(tags),
        "model": model_label(config.get("model", "")),
    }


def _arms(config: dict) -> str:
    if "study" in config:
        return config["study"]
    if ranks := (config.get("plan") or {}).get("ranks"):
        found = set(ranks.values())
        return f"uniform rank {found.pop()}" if len(found) == 1 else "own ranks"
    return ", ".join(map(arm_label, config.get("arms", ())))


def matching(rows: dict[str, dict], text: str) -> list[str]:
    """Return the names of the rows in which every word of a text occurs.

    Examples
    --------
    >>> rows = {"a": {"task": "trec", "tags": "draft"}, "b": {"task": "trec", "tags": ""}}
    >>> matching(rows, "Draft tre"), matching(rows, "")
    (['a'], ['a', 'b'])
    """
    words = text.lower().split()
    return [
        name
        for name, cells in rows.items()
        if all(word in " · ".join(map(str, cells.values())).lower() for word in words)
    ]


def value_of(cells: dict, setting: str) -> str:
    """Return a row's value of a setting as a word; empty where it has none.

    Examples
    --------
    >>> value_of({"state": "queued (2)"}, "state"), value_of({"rank": 8.0}, "rank")
    ('queued', '8')
    """
    value = cells[setting]
    if setting == "state":
        value = value.partition(" (")[0]
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:g}"


def groups(rows: dict[str, dict], setting: str) -> dict[str, int]:
    """Count the rows by their value of a setting: states by interest, numbers by size, words.

    Examples
    --------
    >>> rows = {at: {"rank": rank} for at, rank in enumerate((16.0, 8.0, None, 16.0))}
    >>> groups(rows, "rank")
    {'8': 1, '16': 2}
    """
    places = {state: at for at, state in enumerate(STATES)}

    def place(cells: dict) -> tuple:
        value = cells[setting]
        size = 0 if isinstance(value, str) else value
        word = value_of(cells, setting)
        return places.get(word, len(places)), size, word

    given = [cells for cells in rows.values() if value_of(cells, setting)]
    return dict(Counter(value_of(cells, setting) for cells in sorted(given, key=place)))


def finding(states: Sequence[str]) -> str:
    """Say how many runs there are, and which of them may want somebody's eye.

    Examples
    --------
    >>> finding(["finished", "running", "interrupted"])
    '3 runs: 1 at work, 1 interrupted'
    >>> finding(["finished"]), finding([])
    ('1 run, and nothing is at work', 'No runs yet')
    """
    if not states:
        return "No runs yet"
    counts = Counter(states)
    counts["running"] += counts.pop("starting", 0)
    told = ("running", "queued", "interrupted", "failed", "damaged")
    parts = [f"{counts[state]} {STATES[state]}" for state in told if counts[state]]
    runs = f"{len(states):,} run{'s'[: len(states) > 1]}"
    return f"{runs}: {', '.join(parts)}" if parts else f"{runs}, and nothing is at work"


def command(run: Run) -> str:
    """Return the shell command that a run was started with; empty where it was not kept."""
    return without_paths(shlex.join(start_command(run.folder)))


def differing(first: dict, second: dict) -> pd.DataFrame:
    """List what two runs were asked for differently, or ran with differently.

    Parameters
    ----------
    first, second : dict
        Configs of `Run`.

    Returns
    -------
    pandas.DataFrame
        Columns ``setting``, ``A`` and ``B``.

    Examples
    --------
    >>> one, other = ({"seeds": [0], "settings": {"steps": steps}} for steps in (10, 20))
    >>> differing(one, other).values.tolist()
    [['steps', '10', '20']]
    """
    flat = [_flat(first), _flat(second)]
    names = dict.fromkeys([*flat[0], *flat[1]])
    rows = [(name, *(one.get(name, "") for one in flat)) for name in names]
    rows = [tuple(map(without_paths, found)) for found in rows if found[1] != found[2]]
    return pd.DataFrame(rows, columns=["setting", "A", "B"])


def _flat(config: dict) -> dict[str, str]:
    found, left = {}, list(config.items())[::-1]
    while left:  # however deep another version nested it
        name, value = left.pop()
        if isinstance(value, dict):
            left += list(value.items())[::-1]
        elif isinstance(value, list):
            found[name] = ", ".join(v if isinstance(v, str) else quoted(v) for v in value)
        else:
            found[name] = "" if value is None else str(value)
    return found


def results(compared: dict[str, dict]) -> pd.DataFrame:
    """Put what all arms of several runs came to into one table, equal arms below each other.

    Parameters
    ----------
    compared : dict
        By a run's label: its ``arms`` as in a verdict.

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    >>> arm = {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}
    >>> results({"A": {"uniform": arm, "random": arm}, "B": {"uniform": arm}})["run"].tolist()
    ['A', 'B', 'A']
    """
    tables = []
    for label, arms in compared.items():
        if arms:
            table = results_table(arms, next(iter(arms)))
            table.insert(1, "run", label)
            tables.append(table.reindex(columns=RESULTS))
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    order = list(dict.fromkeys(table["arm"]))
    return table.sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable")


def overlay(compared: dict[str, Run]) -> go.Figure:
    """Draw the validation loss of two runs' arms into one figure, each as `mean_curve` has it.

    Colours, dashes and markers are arms; the second run's markers are open and its lines thin.

    Parameters
    ----------
    compared : dict
        By its label, a run.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    tables = {label: curve_table(run.events, "validation_loss") for label, run in compared.items()}
    arms = list(dict.fromkeys(arm for table in tables.values() for arm in table["arm"]))
    figure = go.Figure()
    for at, (label, table) in enumerate(tables.items()):
        for arm in arms:
            mean, seeds = mean_curve(seed_curves(table, arm))
            if not seeds:
                continue
            name, style = drawn(f"{label}: {arm_label(arm)}"), arm_style(arm, arms)
            figure.add_trace(
                go.Scatter(
                    x=mean.index,
                    y=mean,
                    name=name,
                    mode="lines+markers",
                    line=style.line(3 - 1.5 * at),
                    marker={"symbol": style.symbol + FILLS[at % len(FILLS)], "size": 8 + 3 * at},
                    hovertemplate=f"{name}:<br>validation loss %{{y:.3f}} at step %{{x}}"
                    "<extra></extra>",
                )
            )
    return _over_steps(figure, "validation loss (nats a text)")


def loss_curves(run: Run) -> go.Figure:
    """Draw the train and the validation loss of a run of the command ``finetune``."""
    # What `curve_table` reads as a new beginning of an arm is called a plan there.
    names = {"started": "plan"}
    events = [
        {**event, "event": names.get(event["event"], event["event"]), "arm": "", "seed": 0}
        for event in run.events
        if "arm" not in event
    ]
    figure = go.Figure()
    styles = {"train_loss": (GREY, 1.5, "lines"), "validation_loss": (ACCENT, 3, "lines+markers")}
    for metric, (colour, width, mode) in styles.items():
        table = curve_table(events, metric)
        name = metric.replace("_", " ")
        figure.add_trace(
            go.Scatter(
                x=list(table["step"]),
                y=list(table["value"]),
                name=name,
                mode=mode,
                line={"color": colour, "width": width},
                hovertemplate=f"{name} %{{y:.3f}} at step %{{x}}<extra></extra>",
            )
        )
    return _over_steps(figure, "loss (nats a text)")


def _over_steps(figure: go.Figure, title: str) -> go.Figure:
    """Name the axes of curves over the steps, and lay the figure out."""
    if not any(len(trace.x) for trace in figure.data):
        hide_scale(figure)
    figure.update_xaxes(title="optimizer step", zeroline=False, rangemode="tozero")
    figure.update_yaxes(title=title)
    return set_layout(figure, 380, **LIVE)
