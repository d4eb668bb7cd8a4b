"""What the studies that train are drawn as: pure functions from rows, as many as there are."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from adarank_core.comparison.arms import arm_label
from adarank_core.lab.trainings import told
from adarank_core.numerals import number, signed
from pages.parts.lab.figures import (
    SECOND,
    Picture,
    across,
    add_line,
    agreement_picture,
    log_axis,
    named,
    panels,
    rows_of,
    with_error,
    wrapped,
)
from pages.parts.shared.arm_styles import arm_style
from pages.parts.shared.charts import (
    ACCENT,
    GREY,
    drawn,
    family_colours,
    family_label,
    set_layout,
)
from pages.parts.shared.curves import LIVE

__all__ = ["data_size", "generalisation", "learning_rate", "rank_binds", "transfer"]

LOSS = "validation loss (nats a text)"


def transfer(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw how the tasks' ranks agree, and the losses with ranks of one's own and of the other."""
    found = agreement_picture(rows, "agreement", "ranks")
    losses = rows_of(rows, "losses", ("task", "ranks"), ("loss",))
    if not losses:
        return found
    tasks, kinds = named(losses, "task"), named(losses, "ranks")
    colours = {"uniform": GREY, "own task": ACCENT, "other task": SECOND}
    figure = go.Figure()
    for at, kind in enumerate(kinds):
        of_kind = [
            {**row, "place": tasks.index(row["task"]) + 0.12 * (at - (len(kinds) - 1) / 2)}
            for row in losses
            if row["ranks"] == kind
        ]
        words = [
            f"{drawn(row['task'])}, ranks of {drawn(kind)}:<br>"
            f"validation loss {with_error(row['loss'], row.get('standard_error'), 3)}"
            for row in of_kind
        ]
        add_line(
            figure,
            of_kind,
            "place",
            "loss",
            words,
            "standard_error",
            name=drawn(kind),
            mode="markers",
            marker={"size": 11, "color": colours.get(kind, GREY)},
        )
    figure.update_xaxes(
        title="trained task",
        tickvals=list(range(len(tasks))),
        ticktext=[wrapped(task) for task in tasks],
        range=[-0.5, len(tasks) - 0.5],
        zeroline=False,
    )
    figure.update_yaxes(title=LOSS)
    set_layout(figure, 360, **LIVE)
    alt = "Validation loss of each task with uniform ranks, its own and the other task's"
    return [*found, Picture(figure, alt, "Whiskers: one standard error over seeds.")]


def learning_rate(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw loss against learning rate, one line an arm, the best rate as a diamond."""
    rows = rows_of(rows, "losses", ("arm",), ("learning_rate", "loss"))
    if not rows:
        return []
    figure, arms = go.Figure(), named(rows, "arm")
    for arm in arms:
        of_arm = [row for row in rows if row["arm"] == arm]
        words = [
            f"{drawn(arm_label(arm))} at learning rate {row['learning_rate']:g}:<br>"
            f"validation loss {with_error(row['loss'], row.get('standard_error'), 4)}"
            for row in of_arm
        ]
        style = arm_style(arm, arms)
        best = [row.get("best") is True for row in of_arm]
        marker = {
            "size": [14 if one else 8 for one in best],
            "symbol": ["diamond" if one else style.symbol for one in best],
        }
        add_line(
            figure,
            of_arm,
            "learning_rate",
            "loss",
            words,
            "standard_error",
            name=drawn(arm_label(arm)),
            line=style.line(2),
            marker=marker,
        )
    log_axis(figure, "learning rate", named(rows, "learning_rate"))
    figure.update_yaxes(title=LOSS)
    set_layout(figure, 400, **LIVE)
    alt = "Mean validation loss over the learning rate, one line an arm; the best is a diamond"
    return [Picture(figure, alt, "Whiskers: one standard error over seeds.")]


def rank_binds(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw loss against the number of parameters; the head alone is a line across."""
    rows = rows_of(rows, "losses", ("arm",), ("lora_parameters", "loss", "average_rank"))
    trained = [row for row in rows if row["average_rank"] and row["lora_parameters"]]
    if not trained:
        return []
    figure, arms = go.Figure(), named(trained, "arm")
    for arm in arms:
        of_arm = [row for row in trained if row["arm"] == arm]
        words = [
            f"{drawn(arm_label(arm))}, average rank {row['average_rank']:g}, "
            f"{row['lora_parameters']:,} parameters:<br>"
            f"validation loss {with_error(row['loss'], row.get('standard_error'), 4)}"
            for row in of_arm
        ]
        style = arm_style(arm, arms)
        spot = {"name": drawn(arm_label(arm)), "line": style.line(2)}
        spot["marker"] = {"size": 8, "symbol": style.symbol}
        add_line(figure, of_arm, "lora_parameters", "loss", words, "standard_error", **spot)
    sizes = named(trained, "lora_parameters")
    for row in rows:
        if not row["average_rank"]:
            across(figure, row["loss"], "the head alone", sizes)
    log_axis(figure, "LoRA parameters", sizes)
    by_size = {row["lora_parameters"]: row["average_rank"] for row in trained}
    uniform = {
        row["lora_parameters"]: row["average_rank"] for row in trained if row["arm"] == "uniform"
    }
    ticks = uniform or by_size
    figure.update_xaxes(
        tickvals=list(ticks),
        ticktext=[f"{size:,}<br>rank {rank:g}" for size, rank in ticks.items()],
    )
    figure.update_yaxes(title=LOSS)
    set_layout(figure, 400, **LIVE)
    alt = "Mean validation loss over the number of LoRA parameters, one line an arm"
    return [Picture(figure, alt, "Whiskers: one standard error over seeds.")]


def data_size(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw the difference to uniform, with its interval, over the number of texts."""
    known, maybe = ("size", "difference", "seeds"), ("ci_low", "ci_high", "p_value")
    rows = rows_of(rows, "differences", numbers=known, maybe=maybe)
    rows = [row for row in rows if (row["ci_low"] is None) == (row["ci_high"] is None)]
    if not rows:
        return []
    figure, sizes = go.Figure(), named(rows, "size")
    across(figure, 0.0, "no difference", sizes)
    words = [f"{row['size']:,} texts:<br>{told(row).replace(' (', '<br>(')}" for row in rows]
    line = {"color": ACCENT, "width": 2}
    add_line(
        figure,
        rows,
        "size",
        "difference",
        words,
        ("ci_low", "ci_high"),
        name="adarank less uniform",
        line=line,
    )
    log_axis(figure, "training texts", sizes)
    figure.update_yaxes(title="difference of validation loss<br>(nats a text)")
    set_layout(figure, 380, **LIVE)
    alt = "adarank's validation loss less uniform's, over the number of training texts"
    return [Picture(figure, alt, "Below 0 adarank is better. Whiskers: 95% interval over seeds.")]


def generalisation(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw each module's score against the loss that LoRA on it alone reaches, a panel a score."""
    correlations = {
        row["score"]: row
        for row in rows_of(
            rows, "correlations", ("score",), maybe=("spearman", "ci_low", "ci_high")
        )
    }
    rows = rows_of(rows, "modules", ("module", "family"), ("loss",))
    start = "score of "
    scores = list(dict.fromkeys(key for row in rows for key in row if key.startswith(start)))
    if not rows or not scores:
        return []
    titles = [_panel_title(key.removeprefix(start), correlations) for key in scores]
    figure = panels(titles, shared_yaxes=True, horizontal_spacing=0.05)
    families = named(rows, "family")
    colours = family_colours(families)
    for at, key in enumerate(scores):
        place, known = (at // 2 + 1, at % 2 + 1), rows_of(rows, "modules", numbers=(key,))
        for family in families:
            of_family = [row for row in known if row["family"] == family]
            words = [
                f"{drawn(row['module'])}:<br>score {number(row[key])}, "
                f"validation loss {with_error(row['loss'], row.get('standard_error'), 3)}"
                for row in of_family
            ]
            add_line(
                figure,
                of_family,
                key,
                "loss",
                words,
                "standard_error",
                place,
                name=drawn(family_label(family)),
                mode="markers",
                marker={"size": 8, "color": colours[family]},
                legendgroup=family,
                showlegend=at == 0,
            )
        values = [row[key] for row in known]
        spread = values and min(values) > 0 and max(values) > 10 * min(values)
        figure.update_xaxes(type="log" if spread else None, nticks=5, row=place[0], col=place[1])
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(title="loss", col=1)
    alt = "The loss that LoRA on one module alone reaches over the module's score, a panel a score"
    return [
        Picture(
            figure,
            alt,
            "Each point is a module. In a title: Spearman correlation of score and loss with its "
            "95% interval over modules; −1 would be a perfect prediction. Loss: validation, nats "
            "a text.",
        )
    ]


def _panel_title(score: str, correlations: Mapping[str, Mapping]) -> str:
    row = correlations.get(score)
    if row is None or row["spearman"] is None:
        return drawn(arm_label(score))
    told_of = signed(row["spearman"], 2)
    if row["ci_low"] is not None and row["ci_high"] is not None:
        told_of += f" ({signed(row['ci_low'], 2)} to {signed(row['ci_high'], 2)})"
    return f"{drawn(arm_label(score))}<br>{told_of}"
