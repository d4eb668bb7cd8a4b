"""AdaRank's app: ``streamlit run app.py``. Page config, navigation and the server's middleware."""

import streamlit as st

from adarank_core.limits import is_demo

if __name__ == "__main__":
    st.set_page_config(page_title="AdaRank", page_icon="assets/logo.svg", layout="wide")
    pages = [
        st.Page("pages/explore.py", title="Explore", icon=":material/grid_on:", default=True),
        st.Page("pages/ranks.py", title="Ranks", icon=":material/bar_chart:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/show_chart:"),
        st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
        st.Page("pages/runs.py", title="Runs", icon=":material/history:"),
    ]
    if is_demo():
        pages.append(st.Page("pages/about.py", title="About this demo", icon=":material/info:"))
    st.navigation(pages).run()
else:  # the server imports this file for the application that it serves, which runs it as main
    from pages.parts.shared.walls import walls

    app = st.App("app.py", middleware=walls())
