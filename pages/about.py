"""About this demo: what it holds a visitor to, and what becomes of what he leaves here."""

from dataclasses import fields

import streamlit as st

from adarank_core.data.tasks import task_names
from adarank_core.limits import ANY, MODELS, TASKS, Limits, limits, models, tasks, variable
from pages.parts.shared import state


def cap_rows() -> list[dict[str, str]]:
    """Return a row for every cap: what it is of, the most that is allowed, and its variable."""
    caps = limits()
    rows = [
        _row(cap.metadata["what"], _shown(getattr(caps, cap.name)), variable(cap.name))
        for cap in fields(Limits)
    ]
    lists = {MODELS: ("models", models() or ()), TASKS: ("tasks", tasks(task_names()) or ())}
    named = [
        _row(what, ", ".join(names).replace(ANY, "any model of the Hub"), name)
        for name, (what, names) in lists.items()
    ]
    return named + rows


def _row(what: str, most: str, name: str) -> dict[str, str]:
    return {"what": what, "at most": most, "variable": name}


def _shown(most: float | None) -> str:
    return "as usual" if most is None else f"{most:,}"


def draw() -> None:
    """Draw the whole page."""
    state.open_page()
    caps = limits()
    st.title("Your runs are yours alone here, and limits leave everybody a turn", anchor=False)
    kept = "" if caps.run_hours is None else f" They are deleted after {caps.run_hours:g} hours."
    st.markdown(
        "You see, open, cancel, fetch and delete **your own runs** alone, and so does everybody "
        "else. A random word in a cookie of this browser tells you from others; there are no "
        "accounts, and a link that you share does not hold it. Without the cookie your runs are "
        f"lost when the page is loaded anew.{kept}"
    )
    st.markdown(
        "What you write or upload lies on the machine of whoever runs this demo: do not give it "
        "what must stay secret. "
        "Runs of all visitors wait in one queue and take turns. Nothing here is limited when you "
        "run it yourself: `pip install -r requirements.txt && streamlit run app.py`."
    )
    st.header("The limits of this demo", anchor=False)
    st.dataframe(
        cap_rows(),
        hide_index=True,
        width="stretch",
        height="content",
        column_config={
            "at most": st.column_config.TextColumn(width=90),
            "variable": st.column_config.TextColumn(
                help="Of the environment: whoever runs this demo sets it."
            ),
        },
        alt="All limits of this demo, with the variables that set them",
    )
    st.page_link("pages/explore.py", label="To the first page", icon=":material/arrow_forward:")


draw()
