"""Explore: how far apart noise on each module drives the logits, layers × families."""

import json
import time

import pandas as pd
import streamlit as st

from adarank_core.data.texts import generic_texts, sentence
from adarank_core.errors import AdaRankError
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.scores import Scores, origin_of
from pages.parts.explore.scoring_job import ScoringJob
from pages.parts.shared import cached, charts, glossary, phrases, state
from pages.parts.shared.link import VIEWS, linked
from pages.parts.shared.sidebar import sidebar

TRIALS = (2, 200)
BETWEEN_PICTURES = 0.4  # seconds; drawing each step would take longer than scoring it
FEW = 8  # trials that a link may start by itself


def controls(choice: state.Choice) -> bool:
    """Draw what can be set; return whether to score."""
    own = choice.source == "sentence"
    with st.form("score", border=False, enter_to_submit=True):
        widths = [6, 1.4, 1.2] if own else [1.4, 1.2, 6]
        columns = st.columns(widths, vertical_alignment="bottom")
        if own:
            columns.pop(0).text_input(
                "Your sentence",
                key="sentence",
                placeholder="Write a sentence and press Enter",
                persist_state="session",
            )
        columns[0].number_input(
            "Trials",
            *TRIALS,
            None,
            placeholder="auto",
            help="Noisy models a module; each is compared with every other. More take longer and "
            "give smaller errors. By itself 16 for one sentence, 4 for 16 texts.",
            **linked("trials"),
        )
        return columns[1].form_submit_button("Score", type="primary", width="stretch")


def starts_by_itself(choice: state.Choice, shown: state.Shown) -> bool:
    """Return whether a link was just opened whose scores are not known, but soon are."""
    opened = st.session_state.pop("fresh", False)
    short = choice.source == "generic" or (choice.source, choice.task) == ("task", "docstrings")
    soon = short and choice.model == "embedded" and (choice.trials or 2) <= FEW
    return opened and shown.stale and soon


def start(choice: state.Choice) -> None:
    """Set up the scoring that was asked for; scores that are known are taken at once."""
    st.session_state.pop("job", None)
    labels, asked = 2, choice.asked
    if choice.source == "task":
        if choice.file_missing:
            raise AdaRankError("no file was read yet; upload one at the side, or choose a task")
        bar = st.progress(0.0, text="Loading the task …")
        task = cached.task(choice.task, lambda message, share: bar.progress(share, text=message))
        bar.empty()
        labels, texts = len(task.label_names), task.sample_texts(16, seed=choice.seed)
    else:
        texts = sentence(asked.text) if choice.source == "sentence" else generic_texts()
    job = ScoringJob(
        choice.model, labels, texts, choice.trials, choice.seed, choice.source, asked.text
    )
    known = cached.finished_scores(job.key)
    if known is None:
        st.session_state.job = (job.shared(), asked)
    else:
        state.keep(state.Shown(known, "from the cache", asked.source, asked.text, asked))


def cancel() -> None:
    """Drop the scoring under way; what was shown before it is shown again."""
    st.session_state.pop("job", None)


def draw_scoring(job: ScoringJob, asked: state.Asked) -> None:
    """Score module after module, drawing what is known so far, until the last one."""
    texts = phrases.of_texts(job.texts.source, len(job.texts))
    coming = _shown(_none_yet(job), "being computed", asked)
    with heading:
        title(f"Scoring on {texts}")
        state.origin(coming, phrases.detail(coming))
    with st.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text="Loading the model …")
        st.button("Cancel", on_click=cancel, icon=":material/close:")
    picture = st.empty()
    if job.scores is not None:  # a rerun of the page: what is known is drawn at once
        picture.plotly_chart(charts.heatmap(job.scores, job.grid), width="stretch")
    how_again(coming)
    while (place := job.place()) > 0:
        bar.progress(0.0, text=f"Place {place} in the queue, behind runs and others' scoring")
        time.sleep(1)
    job.prepare()
    bar.progress(0.0, text=f"The first pass through {len(job.grid)} modules …")
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
    state.keep(_shown(job.scores, "computed now", asked))
    st.session_state.pop("job", None)
    st.rerun()


def _shown(scores: Scores, kind: str, asked: state.Asked) -> state.Shown:
    return state.Shown(scores, kind, asked.source, asked.text, asked)


def _none_yet(job: ScoringJob) -> Scores:
    """Return scores without a module, which say what they will be of."""
    options = ScoringOptions(trials=job.trials, seed=job.seed).resolved(len(job.texts))
    return Scores(
        job.model,
        options.mode,
        options.estimator,
        options.noise_scale,
        job.seed,
        origin_of(job.texts),
        (),
        options.trials,
    )


def title(finding: str) -> None:
    """Draw the title and the one sentence that explains the picture."""
    st.title(state.plain(finding), anchor=False)
    st.markdown(
        "Each cell adds random noise to one module, twice, and shows how far apart the two noisy "
        "models' answers are. The further apart, the more the module matters.",
        help=glossary.explained("module", "noise", "disagreement", "L1 distance", "logits"),
    )


def how_again(shown: state.Shown) -> None:
    """Draw the command and the program that give these scores."""
    with st.expander("The same in a shell and in Python"):
        st.code(phrases.command(shown), language="shell", wrap_lines=True)
        st.code(phrases.snippet(shown), language="python", wrap_lines=True)


def show(shown: state.Shown, old: str) -> None:
    """Draw finished scores: the picture, the numbers, the files, and how to do it again.

    Parameters
    ----------
    shown : Shown
    old : str
        Why it is not what is asked for by now; empty if it is.
    """
    scores = shown.scores
    # The second picture is drawn when it is looked at: the first one is then there sooner.
    over_families, over_depth = st.tabs([*VIEWS.values()], key="view", on_change="rerun")
    over_families.plotly_chart(
        charts.say_old(charts.heatmap(scores), old),
        width="stretch",
        key="heatmap",
        alt="Disagreement of every module, layers as rows and families as columns",
    )
    if scores.not_scored:
        over_families.caption(state.plain(scores.not_scored_note))
    if over_depth.open:
        over_depth.plotly_chart(
            charts.say_old(charts.profile(scores), old),
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
        how_again(shown)


state.open_page()
choice = sidebar(("model", "text", "seed"))
heading = st.container()
pressed = controls(choice)
shown = state.current(choice)
if pressed or starts_by_itself(choice, shown):
    st.session_state.pop("failed", None)
    try:
        start(choice)
    except AdaRankError as error:
        st.session_state.failed = (choice.asked, error)
if (under_way := st.session_state.get("job")) is not None:
    try:
        draw_scoring(*under_way)
    except AdaRankError as error:
        cancel()
        st.session_state.failed = (under_way[1], error)
        st.rerun()  # of what was drawn for it nothing is left
shown = state.current(choice)
what, why = st.session_state.get("failed", (None, None))
if what == choice.asked:
    with heading:
        title("There are no scores of this")
    state.show_error(why)  # under it, an older picture would be taken for what was asked for
else:
    with heading:
        title(phrases.score_finding(shown.scores))
        state.origin(shown, phrases.detail(shown))
    show(shown, phrases.old_words(shown, choice.asked) if shown.stale else "")
state.page_link("ranks", "Turn these scores into ranks")
