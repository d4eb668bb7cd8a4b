"""How every figure of every page is drawn, and what is saved of it."""

from textwrap import wrap

import plotly.graph_objects as go
import streamlit as st

from pages.parts.shared.grids import escaped

__all__ = ["draw", "saved", "signed"]

WIDTH = 1000  # pixels; a column of a paper at 150 dots an inch
SHARP = 2  # dots a pixel, of a PNG
LINE = 62  # characters, for which a phone has room


def draw(figure: go.Figure, place=st, **more):
    """Draw a figure that can be saved under a proper name, in the size of a page.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    place : container, optional
        Where it is drawn.
    **more
        As ``st.plotly_chart`` takes them; ``key`` names the saved file too.
    """
    height = figure.layout.height or 450
    config = saved(more.get("key") or "figure", st.session_state.get("pictures"), height)
    return place.plotly_chart(figure, width="stretch", config=config, **more)


def saved(name: str, kind: str | None = None, height: int = 450) -> dict:
    """Return how a browser saves a figure, as Plotly's configuration has it.

    Parameters
    ----------
    name : str
        Of the figure, as keys are written.
    kind : {"PNG", "SVG"}, optional
    height : int
        In pixels.

    Examples
    --------
    >>> saved("rank_bars", "SVG")["toImageButtonOptions"]["filename"]
    'adarank-rank-bars'
    """
    return {
        "displaylogo": False,
        "toImageButtonOptions": {
            "format": (kind or "PNG").lower(),
            "filename": f"adarank-{name.replace('_', '-')}",
            "width": WIDTH,
            "height": height,
            "scale": SHARP if kind != "SVG" else 1,
        },
    }


def signed(figure: go.Figure, words: str) -> go.Figure:
    """Write under a figure what it is of, in small letters, so that a saved one still says it.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    words : str
        Such as model, texts, trials and seed.
    """
    lines = wrap(words, LINE)
    small = "<br>".join(map(escaped, lines))
    axis = figure.layout.xaxis.title.text
    figure.update_xaxes(title_text=f'{axis}<br><span style="font-size:11px">{small}</span>')
    return figure.update_layout(height=figure.layout.height + 15 * len(lines))
