"""The live board of a room: pure functions from attendees to figures, without names."""

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go

from pages.parts.learn.lesson_data import Check, Step
from pages.parts.learn.rooms import Attendee
from pages.parts.shared.charts import ACCENT, drawn, set_layout

__all__ = ["answer_bars", "answer_counts", "progress_grid"]

RIGHT, WRONG, OPEN = "#009E73", "#E69F00", "rgba(138,136,148,0.18)"
ANSWERED = ACCENT
LINE = 28  # signs of an answer in a line beside its bar: half a phone is left to the bar


def answer_counts(attendees: Sequence[Attendee], step: Step) -> list[int]:
    """Return how many chose each answer to a step's check.

    Examples
    --------
    >>> from pages.parts.learn.lesson_data import lesson
    >>> room = [Attendee("rank", {"rank": 1}), Attendee("noise", {"rank": 1}), Attendee("rank")]
    >>> answer_counts(room, lesson()["steps"][0])
    [0, 2, 0]
    """
    given = [each.answers.get(step["id"]) for each in attendees]
    return [given.count(at) for at in range(len(step["check"]["choices"]))]


def progress_grid(attendees: Sequence[Attendee], steps: Sequence[Step], tell: bool) -> go.Figure:
    """Draw one row an attendee and one column a step: answered, and where they are.

    Parameters
    ----------
    attendees : sequence of Attendee
    steps : sequence of Step
    tell : bool
        Tell right from wrong, by colour and sign.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    cells = [[_cell(attendee, step, tell) for step in steps] for attendee in attendees]
    figure = go.Figure(
        go.Heatmap(
            z=[[value for value, _, _ in row] for row in cells],
            text=[[sign for _, sign, _ in row] for row in cells],
            customdata=[[words for _, _, words in row] for row in cells],
            x=[drawn(step["name"]) for step in steps],
            y=list(range(1, len(attendees) + 1)),
            zmin=0,
            zmax=3,
            colorscale=_steps_of(OPEN, ANSWERED, WRONG, RIGHT),
            showscale=False,
            texttemplate="%{text}",
            hovertemplate="Attendee %{y}, %{x}: %{customdata}.<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    bare = {"showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_xaxes(title="step (→ is where somebody is)", **bare)
    figure.update_yaxes(title="attendee", autorange="reversed", **bare)
    figure.update_yaxes(dtick=1 if len(attendees) <= 40 else 10)
    return set_layout(figure, 100 + 22 * max(len(attendees), 3), margin_t=4)


def answer_bars(attendees: Sequence[Attendee], step: Step, tell: bool) -> go.Figure:
    """Draw how the room answered a check, one bar an answer.

    Parameters
    ----------
    attendees : sequence of Attendee
    step : Step
    tell : bool
        Give the right answer another colour and a sign.

    Returns
    -------
    plotly.graph_objects.Figure
    """
    counts, check = answer_counts(attendees, step), step["check"]
    rights = [tell and bool(choice.get("right")) for choice in check["choices"]]
    figure = go.Figure(
        go.Bar(
            x=counts,
            y=_labels(check, rights),
            orientation="h",
            marker={"color": [RIGHT if right else ANSWERED for right in rights]},
            text=counts,
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x}<extra></extra>",
        )
    )
    most = max(5, len(attendees))
    figure.update_xaxes(title="attendees", range=[0, 1.08 * most], fixedrange=True)
    figure.update_xaxes(dtick=1 if most <= 12 else None)
    figure.update_yaxes(autorange="reversed", fixedrange=True, automargin=True)
    return set_layout(figure, 70 + 42 * len(counts), margin_t=4)


def _cell(attendee: Attendee, step: Step, tell: bool) -> tuple[int, str, str]:
    """Return a cell's level, its sign and its words."""
    here = "→ " * (attendee.step == step["id"])
    at = attendee.answers.get(step["id"])
    if at is None:
        return 0, here, "no answer yet"
    letter = "abcdefghijklmnopqrstuvwxyz"[at]
    if not tell:
        return 1, f"{here}{letter}", f"answer {letter}"
    right = bool(step["check"]["choices"][at].get("right"))
    sign, word = ("✓", "right") if right else ("✗", "not right")
    return (3 if right else 2), f"{here}{letter} {sign}", f"answer {letter}, {word}"


def _labels(check: Check, rights: Sequence[bool]) -> list[str]:
    labels = []
    for at, (choice, right) in enumerate(zip(check["choices"], rights, strict=True)):
        lines = wrap(f"{'abcdefgh'[at]}) {choice['text']}", LINE)
        labels.append("<br>".join(map(drawn, lines)) + "  ✓" * right)
    return labels


def _steps_of(*colours: str) -> list[tuple[float, str]]:
    """Return a colour scale that gives the whole numbers from 0 one colour each."""
    last = len(colours) - 1
    return [(at / last, colour) for at, colour in enumerate(colours)]
