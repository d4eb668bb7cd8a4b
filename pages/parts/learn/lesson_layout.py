"""What a lesson page is laid out with: a reading column, a table twin, a quick check."""

import pandas as pd
import streamlit as st

__all__ = ["draw_check", "draw_data", "reading_columns", "unbroken"]

READING = 520  # pixels: 60 to 70 characters a line


def reading_columns():
    """Return a reading column and one for the toy; they are stacked on narrow screens."""
    left, right = st.columns([11, 9], gap="medium")
    return left.container(width=READING), right


def draw_data(table: pd.DataFrame, name: str) -> None:
    """Draw the table twin of a figure, closed."""
    with st.expander("Data"):
        st.dataframe(table, hide_index=True, width="stretch")
        csv = table.to_csv(index=False)
        st.download_button(f"{name}.csv", csv, f"{name}.csv", "text/csv", on_click="ignore")


def draw_check(key: str, question: str, answers: dict[str, str], right: str) -> None:
    """Ask a quick check; every answer has its own explanation."""
    with st.container(border=True):
        st.markdown(f"**Quick check.** {question}")
        given = st.radio(
            question,
            list(answers),
            index=None,
            key=key,
            persist_state="session",
            label_visibility="collapsed",
        )
        if given == right:
            st.success(f"**Right.** {answers[given]}", icon=":material/check_circle:")
        elif given is not None:
            st.info(f"**Not quite.** {answers[given]}", icon=":material/lightbulb:")


def unbroken(label: str) -> str:
    """Keep a module's label on one line."""
    return label.replace(" ", "\N{NO-BREAK SPACE}")
