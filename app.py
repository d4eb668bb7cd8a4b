"""AdaRank's app: ``streamlit run app.py``. Page config and navigation, nothing else."""

import streamlit as st

PAGES = {
    "explore": ("Explore", ":material/grid_on:"),
    "ranks": ("Ranks", ":material/bar_chart:"),
    "compare": ("Compare", ":material/show_chart:"),
    "learn": ("Learn", ":material/school:"),
    "runs": ("Runs", ":material/history:"),
    "teach": ("Teach", ":material/groups:"),
}

st.set_page_config(page_title="AdaRank", page_icon="assets/logo.svg", layout="wide")
# Teach is reached from Learn; a teacher's link may hide others from the list too.
hidden = {"teach", *st.session_state.get("hidden_parts", ())}
st.navigation(
    [
        st.Page(
            f"pages/{name}.py",
            title=title,
            icon=icon,
            default=name == "explore",
            visibility="hidden" if name in hidden else "visible",
        )
        for name, (title, icon) in PAGES.items()
    ]
).run()
