"""What the studies that only score are drawn as: pure functions from rows, as many as there are."""

from collections.abc import Mapping, Sequence

from plotly.subplots import make_subplots

from adarank_core.numerals import number
from pages.parts.lab.figures import (
    SECOND,
    Picture,
    add_line,
    agreement_picture,
    heat,
    log_axis,
    named,
    panels,
    rows_of,
    with_error,
    wrapped,
)
from pages.parts.shared.charts import (
    ACCENT,
    GREY,
    drawn,
    family_colours,
    family_label,
    layer_label,
    set_layout,
)
from pages.parts.shared.curves import LIVE

__all__ = ["noise", "reset", "text_source", "trials_and_texts", "which_score"]

CELL = 0.47  # from a cell's middle to its outline, inside the picture


def trials_and_texts(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw how stable ranks are over trials × texts, the cheapest stable cell marked."""
    rows = rows_of(rows, numbers=("trials", "texts", "seconds"), maybe=("spearman",))
    if not rows:
        return []
    texts, trials = (sorted(set(named(rows, key))) for key in ("texts", "trials"))
    cells, best = {}, []
    for row in rows:
        place = trials.index(row["trials"]), texts.index(row["texts"])
        value = row["spearman"]
        written = f"{with_error(value, None, 3)}<br>{row['seconds']:.1f} s"
        words = (
            f"{row['trials']} trials of {row['texts']} texts:<br>Spearman "
            f"{with_error(value, row.get('standard_error'), 3)} between two draws,<br>"
            f"{number(row['seconds'])} seconds"
        )
        cells[place] = (value, "" if value is None else written, words)
        if row.get("cheapest") is True:
            best.append(place)
    lowest = min((row["spearman"] for row in rows if row["spearman"] is not None), default=0.0)
    figure = heat(
        [f"{count:g}" for count in texts],
        [f"{count:g}" for count in trials],
        cells,
        "Spearman correlation between two draws",
        lowest,
        1.0,
    )
    for at, (row, column) in enumerate(best):
        figure.add_shape(
            type="rect",
            x0=column - CELL,
            x1=column + CELL,
            y0=row - CELL,
            y1=row + CELL,
            line={"color": "#D55E00", "width": 4},
            name="the cheapest that is stable",
            showlegend=at == 0,
        )
    figure.update_layout(showlegend=bool(best))
    figure.update_xaxes(title="texts")
    figure.update_yaxes(title="trials a module")
    return [
        Picture(
            figure,
            "How stable the order of modules is, over trials and texts, with the seconds "
            "that each takes",
        )
    ]


def text_source(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw how sources of text agree, and the ranks that each gives."""
    return [*agreement_picture(rows, "agreement"), *_ranks(rows)]


def which_score(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw how far all importance scores agree."""
    return agreement_picture(rows, None)


def _ranks(rows: Sequence[Mapping]) -> list[Picture]:
    rows = rows_of(rows, "ranks", ("source", "module", "family"), ("layer", "rank"))
    rows = [row for row in rows if isinstance(row["layer"], int)]
    if not rows:
        return []
    sources, modules = named(rows, "source"), named(rows, "module")
    labels = {
        row["module"]: f"{layer_label(row['layer'])} · {family_label(row['family'])}"
        for row in rows
    }
    cells = {}
    for row in rows:
        words = f"{drawn(labels[row['module']]).capitalize()} gets rank {row['rank']}<br>"
        words += f"from {drawn(row['source'])}"
        cells[modules.index(row["module"]), sources.index(row["source"])] = (
            row["rank"],
            f"{row['rank']}",
            words,
        )
    figure = heat(
        [wrapped(source) for source in sources],
        [drawn(labels[module]) for module in modules],
        cells,
        "LoRA rank",
    )
    figure.update_layout(height=130 + 18 * min(len(modules), 40))
    return [Picture(figure, "The rank of every module, one column a source of text")]


def noise(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw agreement and response over the scale of the noise, one line a kind."""
    panels = {
        "spearman_linearised": "Spearman with the linearised score",
        "spearman_usual": "Spearman with Gaussian noise of scale 1",
        "response": "response, of the linear one",
    }
    rows = rows_of(rows, words=("kind",), numbers=("scale",), maybe=panels)
    rows = [row for row in rows if row["scale"] > 0]
    if not rows:
        return []
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    kinds = named(rows, "kind")
    colours = family_colours(kinds)
    for place, (key, title) in enumerate(panels.items(), 1):
        for kind in kinds:
            of_kind = sorted(
                (row for row in rows if row["kind"] == kind), key=lambda row: row["scale"]
            )
            if key == "response":
                of_kind = [row for row in of_kind if row[key] is not None and row[key] > 0]
            words = [
                f"{drawn(kind)} noise of scale {row['scale']:g}:<br>{title} "
                f"{with_error(row[key], row.get(f'{key}_error'), 3)}"
                for row in of_kind
            ]
            add_line(
                figure,
                of_kind,
                "scale",
                key,
                words,
                f"{key}_error",
                (place, 1),
                name=drawn(kind),
                legendgroup=kind,
                showlegend=place == 1,
                line={"color": colours[kind], "width": 2},
            )
        figure.update_yaxes(title=_two_lines(title), row=place, col=1)
    figure.update_yaxes(type="log", dtick=1, row=3, col=1)
    figure.add_hline(y=1, line={"color": GREY, "dash": "dash", "width": 1.5}, row=3, col=1)
    figure.update_xaxes(type="log", zeroline=False)
    log_axis(figure, "scale of the noise", named(rows, "scale"), row=3, col=1)
    set_layout(figure, 720, **LIVE)
    return [
        Picture(
            figure,
            "Agreement with the linearised score, with Gaussian noise of scale 1, and the "
            "response, over the noise's scale; one line a kind of noise",
            "Response: how far the logits move for the noise's size, where 1 (dashed) is a model "
            "that answers in proportion. Scale 1 is the weights' own deviation; of **absolute** "
            "noise it is 1 itself.",
        )
    ]


def _two_lines(title: str) -> str:
    """Break an axis title where its panel is low.

    Examples
    --------
    >>> _two_lines("response, of the linear one")
    'response,<br>of the linear one'
    """
    first, *rest = title.split(" ")
    return f"{first}<br>{' '.join(rest)}"


def reset(rows: Sequence[Mapping]) -> list[Picture]:
    """Draw each family's score over the layers, with noise that stays and with a real reset."""
    rows = rows_of(rows, "curves", ("curve", "family"), ("layer", "score"))
    rows = [row for row in rows if isinstance(row["layer"], int)]
    if not rows:
        return []
    families, curves = named(rows, "family"), named(rows, "curve")
    colours = {"real reset": GREY, "accumulating, reversed": SECOND}
    titles = [drawn(family_label(family)) for family in families]
    figure = panels(titles, shared_xaxes=True, horizontal_spacing=0.12)
    for at, family in enumerate(families):
        for curve in curves:
            found = [
                {**row, "place": row["layer"] + 1}
                for row in rows
                if (row["family"], row["curve"]) == (family, curve)
            ]
            words = [
                f"{drawn(family_label(family))}, {layer_label(row['layer'])}, {drawn(curve)}:<br>"
                f"{number(row['score'])}"
                for row in found
            ]
            add_line(
                figure,
                found,
                "place",
                "score",
                words,
                "standard_error",
                (at // 2 + 1, at % 2 + 1),
                name=drawn(curve),
                legendgroup=curve,
                showlegend=at == 0,
                line={"color": colours.get(curve, ACCENT), "width": 2},
                marker={"size": 6},
            )
    figure.update_yaxes(rangemode="tozero", nticks=5)
    deep = len(set(named(rows, "layer"))) > 16
    figure.update_xaxes(zeroline=False, dtick=4 if deep else 1)
    figure.update_xaxes(title="layer", row=-(-len(families) // 2))
    return [
        Picture(
            figure,
            "Score over the layers, a panel a family: noise that stays, scanned forward and in "
            "reverse, and a real reset",
            "Score: mean absolute difference of the pooled output, as the notebook took it; "
            "layer 1 is nearest the input. Whiskers: one standard error over repeats.",
        )
    ]
