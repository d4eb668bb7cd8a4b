"""AdaRank's app: ``streamlit run app.py``. Page config and navigation, nothing else."""

import streamlit as st

st.set_page_config(page_title="AdaRank", page_icon="assets/logo.svg", layout="wide")
st.navigation(
    [
        st.Page("pages/explore.py", title="Explore", icon=":material/grid_on:", default=True),
        st.Page("pages/ranks.py", title="Ranks", icon=":material/bar_chart:"),
        st.Page("pages/compare.py", title="Compare", icon=":material/show_chart:"),
        st.Page("pages/lab.py", title="Lab", icon=":material/science:"),
        st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
        st.Page("pages/runs.py", title="Runs", icon=":material/history:"),
    ]
).run()
