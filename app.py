"""AdaRank's app: ``streamlit run app.py``. Page config, looks, navigation and middleware."""

from contextlib import suppress
from pathlib import Path
from threading import Thread

import streamlit as st

from adarank_core.errors import AdaRankError
from adarank_core.limits import is_demo

PAGES = {
    "explore": ("Explore", ":material/grid_on:"),
    "ranks": ("Ranks", ":material/bar_chart:"),
    "compare": ("Compare", ":material/show_chart:"),
    "lab": ("Lab", ":material/science:"),
    "learn": ("Learn", ":material/school:"),
    "runs": ("Runs", ":material/history:"),
    "teach": ("Teach", ":material/groups:"),
    "about": ("About this demo", ":material/info:"),
}


def warm_up() -> None:
    """Draw a first picture while the first browser still loads: it imports what takes longest."""
    from pages.parts.explore import beside, closer, scoring_job  # noqa: F401
    from pages.parts.shared import charts, sidebar, state, tables  # noqa: F401

    with suppress(AdaRankError):  # a damaged example: its pages say so
        charts.heatmap(state.example_scores("generic")).to_json()


if __name__ == "__main__":
    assets = Path(__file__).parent / "assets"
    st.set_page_config(page_title="AdaRank", page_icon=assets / "logo.svg", layout="wide")
    st.logo(assets / "wordmark.svg", size="large")
    st.html(assets / "style.css")
    # Teach is reached from Learn; a teacher's link may hide others from the list too.
    hidden = {"teach", *st.session_state.get("hidden_parts", ())}
    pages = [
        st.Page(
            f"pages/{name}.py",
            title=title,
            icon=icon,
            default=name == "explore",
            visibility="hidden" if name in hidden else "visible",
        )
        for name, (title, icon) in PAGES.items()
        if name != "about" or is_demo()
    ]
    try:
        st.navigation(pages).run()
    except AdaRankError as error:  # such as of a stored example that is damaged
        from pages.parts.shared.state import show_error

        show_error(error)
else:  # the server imports this file for the application that it serves, which runs it as main
    from pages.parts.shared.walls import walls

    app = st.App("app.py", middleware=walls())
    Thread(target=warm_up, daemon=True).start()
