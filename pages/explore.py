"""Explore: how far apart noise on each module drives the logits, layers × families."""

import json
import time

import pandas as pd
import streamlit as st

from adarank_core.data.texts import generic_texts, sentence
from adarank_core.errors import AdaRankError
from pages.parts.explore.scoring_job import ScoringJob
from pages.parts.shared import cached, charts, phrases, state

TRIALS = (2, 200)
BETWEEN_PICTURES = 0.4  # seconds; drawing each step would take longer than scoring it


def controls(choice: state.Choice) -> tuple[bool, int | None, str]:
    """Draw what can be set; return whether to score, the trials and the sentence."""
    own = choice.source == "sentence"
    with st.form("score", border=False, enter_to_submit=True):
        widths = [6, 1.4, 1.2] if own else [1.4, 1.2, 6]
        columns = st.columns(widths, vertical_alignment="bottom")
        written = ""
        if own:
            written = columns.pop(0).text_input(
                "Your sentence",
                key="sentence",
                placeholder="Write a sentence and press Enter",
                persist_state="session",
            )
        trials = columns[0].number_input(
            "Trials",
            *TRIALS,
            None,
            key="trials",
            placeholder="auto",
            bind="query-params",
            persist_state="session",
            help="Noisy models a module; each is compared with every other. More take longer and "
            "give smaller errors. By itself 16 for one sentence, 4 for 16 texts.",
        )
        asked = columns[1].form_submit_button("Score", type="primary", width="stretch")
    return asked, trials, written


def start(choice: state.Choice, trials: int | None, written: str) -> None:
    """Set up the scoring that was asked for; scores that are known are taken at once."""
    labels, text = 2, ""
    if choice.source == "task":
        bar = st.progress(0.0, text="Loading the task …")
        task = cached.task(choice.task, lambda message, share: bar.progress(share, text=message))
        bar.empty()
        labels, text = len(task.label_names), choice.task
        texts = task.sample_texts(16, seed=choice.seed)
    elif choice.source == "sentence":
        texts = sentence(written)
        text = texts.items[0]
    else:
        texts = generic_texts()
    job = ScoringJob(choice.model, labels, texts, trials, choice.seed, choice.source, text)
    known = cached.finished_scores(job.key)
    if known is None:
        job.prepare()
        st.session_state.job = job
    else:
        st.session_state.pop("job", None)
        state.keep(state.Shown(known, "from the cache", job.source, text))


def cancel() -> None:
    """Drop the scoring under way; what was shown before it is shown again."""
    st.session_state.pop("job", None)


def draw_scoring(job: ScoringJob) -> None:
    """Score module after module, drawing what is known so far, until the last one."""
    texts = phrases.of_texts(job.texts.source, len(job.texts))
    with heading:
        title(f"Scoring {len(job.grid)} modules on {texts}")
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(job.done / job.total if job.total else 0.0, text="The first pass …")
        st.button("Cancel", on_click=cancel, icon=":material/close:")
    picture = st.empty()
    if job.scores is not None:  # a rerun of the page: what is known is drawn at once
        picture.plotly_chart(charts.heatmap(job.scores, job.grid), width="stretch")
    drawn = float("-inf")
    while job.advance():
        if time.monotonic() - drawn < BETWEEN_PICTURES:
            continue
        drawn = time.monotonic()
        bar.progress(
            job.done / job.total,
            text=f"{len(job.scores.modules)} of {len(job.grid)} modules · "
            f"about {max(1, job.seconds_left):.0f} s left",
        )
        picture.plotly_chart(charts.heatmap(job.scores, job.grid), width="stretch")
    cached.keep_scores(job.key, job.scores)
    state.keep(state.Shown(job.scores, "computed now", job.source, job.text))
    st.session_state.pop("job", None)
    st.rerun()


def title(finding: str) -> None:
    """Draw the title and the one sentence that explains the picture."""
    st.title(state.plain(finding), anchor=False)
    st.markdown(
        "Each cell adds random noise to one module, twice, and shows how far apart the two noisy "
        "models' answers are. The further apart, the more the module matters."
    )


def show(shown: state.Shown) -> None:
    """Draw finished scores: the picture, the numbers, the files, and how to do it again."""
    scores = shown.scores
    # The second picture is drawn when it is looked at: the first one is then there sooner.
    over_families, over_depth = st.tabs(
        ["Layers × families", "Profile over depth"], key="view", on_change="rerun"
    )
    over_families.plotly_chart(
        charts.heatmap(scores),
        width="stretch",
        key="heatmap",
        alt="Disagreement of every module, layers as rows and families as columns",
    )
    if scores.not_scored:
        over_families.caption(state.plain(scores.not_scored_note))
    if over_depth.open:
        over_depth.plotly_chart(
            charts.profile(scores),
            width="stretch",
            key="profile",
            alt="Disagreement over depth, one line a family of modules",
        )
        over_depth.caption("Bands are one standard error to each side.")
    table = pd.DataFrame(
        {
            "module": [charts.module_label(module) for module in scores.modules],
            "disagreement": [module.score for module in scores.modules],
            "standard error": [module.standard_error for module in scores.modules],
            "in": [module.in_features for module in scores.modules],
            "out": [module.out_features for module in scores.modules],
            "path": [module.name for module in scores.modules],
        }
    )
    with st.expander("Data"):
        st.dataframe(table, hide_index=True, width="stretch")
        with st.container(horizontal=True):
            st.download_button(
                "scores.csv", table.to_csv(index=False), "scores.csv", "text/csv", on_click="ignore"
            )
            st.download_button(
                "scores.json",
                json.dumps(scores.to_dict(), indent=1) + "\n",
                "scores.json",
                "application/json",
                on_click="ignore",
            )
    if shown.kind != "your file":
        with st.expander("The same in a shell and in Python"):
            st.code(phrases.command(shown), language="shell", wrap_lines=True)
            st.code(phrases.snippet(shown), language="python", wrap_lines=True)


state.open_page(trials=state.between(*TRIALS))
choice = state.sidebar()
heading = st.container()
asked, trials, written = controls(choice)
if asked:
    try:
        start(choice, trials, written)
    except AdaRankError as error:
        state.show_error(error)
job = st.session_state.get("job")
if job is not None:
    try:
        draw_scoring(job)
    except AdaRankError as error:
        cancel()
        state.show_error(error)
shown = state.current(choice)
with heading:
    title(phrases.score_finding(shown.scores))
    state.badge(shown.kind, phrases.detail(shown))
show(shown)
st.page_link(
    "pages/ranks.py", label="Turn these scores into ranks", icon=":material/arrow_forward:"
)
