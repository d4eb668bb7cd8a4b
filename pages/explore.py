"""Explore: how far apart noise on each module drives the logits, layers × families."""

import json
import time

import pandas as pd
import streamlit as st

from adarank_core.errors import AdaRankError
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.scores import Scores, origin_of
from pages.parts.explore.beside import (
    difference_table,
    draw_difference,
    finding,
    is_beside,
    pick_second,
    source_words,
)
from pages.parts.explore.closer import draw_closer, pick, picked
from pages.parts.explore.scored_texts import draw_texts, wanted_texts
from pages.parts.explore.scoring_job import ScoringJob
from pages.parts.shared import cached, charts, figures, glossary, phrases, state
from pages.parts.shared.link import MARKED, SCALES, VIEWS, linked
from pages.parts.shared.sidebar import sidebar
from pages.parts.shared.tables import signed_table

TRIALS = (2, 200)
BETWEEN_PICTURES = 0.4  # seconds; drawing each step would take longer than scoring it
FEW = 8  # trials that a link may start by itself
#: To try: of a feeling, a question, and what is no sentence at all.
TO_TRY = (
    "I hated every minute of it.",
    "How many moons has Mars?",
    "print(1 + 1)",
)


def controls(choice: state.Choice) -> tuple[bool, state.Choice | None]:
    """Draw what can be set; return whether to score, and what is to be laid beside it."""
    own = choice.source == "sentence"
    if own:
        scoring, looks = st.container(), st.container()
    else:
        scoring, looks = st.columns([2.6, 3.4], vertical_alignment="bottom")
    with scoring.form("score", border=False, enter_to_submit=True):
        columns = st.columns([6, 1.4, 1.2] if own else 2, vertical_alignment="bottom")
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
            help=glossary.explained("trials")
            + "\n\nMore take longer. By itself 16 for one sentence, 4 for 16 texts.",
            **linked("trials"),
        )
        pressed = columns[1].form_submit_button("Score", type="primary", width="stretch")
    with looks.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for at, text in enumerate(TO_TRY * own):
            tip = "Fills the box and scores it."
            st.button(text, help=tip, key=f"try_{at}", on_click=try_out, args=(text,))
        second = pick_second(choice)
        with st.popover("View", icon=":material/tune:"):
            how_drawn()
    return pressed or st.session_state.pop("try", False), second


def try_out(text: str) -> None:
    """Fill the box with a sentence and score it; a callback."""
    st.session_state.sentence, st.session_state["try"] = text, True


def how_drawn() -> None:
    """Draw the controls of the pictures' looks."""
    st.segmented_control(
        "Colour",
        ("linear", "log"),
        required=True,
        help="By the score, or by its logarithm, which tells small scores apart.",
        **linked("colour"),
    )
    st.segmented_control(
        "Scale",
        (*SCALES.values(),),
        required=True,
        help="Each family's own: colours compare the layers of a family, not the families.",
        **linked("scale"),
    )
    st.segmented_control(
        "Errors",
        (*MARKED.values(),),
        required=True,
        help="A ring where the error is large, or in every cell a dot as wide as its error.",
        **linked("errors"),
    )


def looks() -> dict:
    """Return what the controls of the pictures' looks say, as `charts.heatmap` takes it."""
    now = st.session_state
    return {
        "log": now.colour == "log",
        "by_family": now.scale == SCALES["family"],
        "all_errors": now.errors == MARKED["all"],
    }


def starts_by_itself(choice: state.Choice, shown: state.Shown) -> bool:
    """Return whether a link was just opened whose scores are not known, but soon are."""
    opened = st.session_state.pop("fresh", False)
    short = choice.source == "generic" or (choice.source, choice.task) == ("task", "docstrings")
    soon = short and choice.model == "embedded" and (choice.trials or 2) <= FEW
    return opened and shown.stale and soon


def start(choice: state.Choice) -> None:
    """Set up the scoring that was asked for; scores that are known are taken at once."""
    st.session_state.pop("job", None)
    asked, bar = choice.asked, None
    if choice.source == "task":
        if choice.file_missing:
            raise AdaRankError("no file was read yet; upload one at the side, or choose a task")
        bar = st.progress(0.0, text="Loading the task …")
    texts, labels = wanted_texts(
        choice.source,
        choice.task if choice.source == "task" else asked.text,
        choice.seed,
        lambda message, share: bar.progress(share, text=message),
    )
    if bar is not None:
        bar.empty()
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
        figures.draw(charts.heatmap(job.scores, job.grid, **looks()), picture)
    how_again(coming)
    while (place := job.place()) > 0:
        bar.progress(0.0, text=f"Place {place} in the queue, behind runs and others' scoring")
        time.sleep(1)
    job.prepare()
    bar.progress(0.0, text=f"The first pass through {len(job.grid)} modules …")
    drawn = time.monotonic()  # a sentence is done before a first picture of it would be drawn
    while job.advance():
        if time.monotonic() - drawn < BETWEEN_PICTURES:
            continue
        drawn = time.monotonic()
        bar.progress(
            job.done / job.total,
            text=f"{job.step_words} · {job.time_words}",
        )
        figures.draw(charts.heatmap(job.scores, job.grid, **looks()), picture)
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
        "Each cell adds random noise to one module, again and again, and shows how far apart the "
        "answers of two such noisy models are. The further apart, the more the module matters.",
        help=glossary.explained("module", "noise", "disagreement", "L1 distance", "logits"),
    )


def how_again(shown: state.Shown) -> None:
    """Draw the command and the program that give these scores."""
    folded = st.expander("The same in a shell and in Python", key="again", on_change="rerun")
    if folded.open:
        folded.code(phrases.command(shown), language="shell", wrap_lines=True)
        folded.code(phrases.snippet(shown), language="python", wrap_lines=True)


def show(shown: state.Shown, old: str, second: state.Choice | None) -> None:
    """Draw finished scores: the picture, the numbers, the files, and how to do it again.

    Parameters
    ----------
    shown : Shown
    old : str
        Why it is not what is asked for by now; empty if it is.
    second : Choice, optional
        What is to be laid beside it.
    """
    scores = shown.scores
    beside_it = None if second is None else state.current(second)
    compared = beside_it is not None and is_beside(shown, beside_it)
    # The second picture is drawn when it is looked at: the first one is then there sooner.
    over_families, over_depth = st.tabs([*VIEWS.values()], key="view", on_change="rerun")
    with over_families:
        place, other = st.container(), None
        if second is not None:
            if compared:
                place.markdown(f"**{state.plain(finding(shown, beside_it))}.**")
            place, other = st.columns(2)
        draw_heatmap(shown, old, place)
        if other is not None:
            with other:
                draw_difference(shown, second)
        if scores.not_scored:
            st.caption(state.plain(scores.not_scored_note))
    if over_depth.open:
        with over_depth:
            draw_profile(shown, old)
            if compared:
                st.markdown(f"The same on {source_words(second.source)}:")
                draw_profile(beside_it, "")
            st.caption("Bands are one standard error to each side.")
    draw_closer(shown)
    draw_data(shown, beside_it if compared else None)
    draw_texts(shown)
    if shown.kind != "your file":
        how_again(shown)


def draw_heatmap(shown: state.Shown, old: str, place) -> None:
    """Draw disagreement as layers × families; a click looks closely at a module."""
    figure = charts.heatmap(shown.scores, picked=picked(shown.scores), **looks())
    charts.make_clickable(figure, shown.scores)
    figures.draw(
        figures.signed(charts.say_old(figure, old), phrases.detail(shown)),
        place,
        key="heatmap",
        alt="Disagreement of every module, layers as rows and families as columns",
        on_select=take_click,
        selection_mode="points",
    )


def take_click() -> None:
    """Look closely at the module that was clicked; a callback."""
    points = st.session_state.heatmap.selection.points
    if points:
        pick(points[0]["point_index"])


def draw_profile(shown: state.Shown, old: str) -> None:
    """Draw disagreement over depth."""
    figure = charts.profile(shown.scores, st.session_state.colour == "log")
    figures.draw(
        figures.signed(charts.say_old(figure, old), phrases.detail(shown)),
        key=f"profile_{shown.source}",
        alt="Disagreement over depth, one line a family of modules",
    )


def draw_data(shown: state.Shown, beside_it: state.Shown | None) -> None:
    """Draw the numbers of the pictures, and the files."""
    # Drawn when it is opened: the first picture does not wait for what draws tables.
    folded = st.expander("Data", key="explore_data", on_change="rerun")
    if not folded.open:
        return
    scores = shown.scores
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
    with folded:
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
        if beside_it is not None:
            rows = difference_table(shown, beside_it)
            st.dataframe(signed_table(rows), hide_index=True, width="stretch")
            st.download_button(
                "differences.csv",
                rows.to_csv(index=False),
                "differences.csv",
                "text/csv",
                on_click="ignore",
            )


state.open_page()
of_a_task = st.session_state.against == "task"
choice = sidebar(("model", "text", "seed", *("task",) * of_a_task))
heading = st.container()
pressed, second = controls(choice)
shown = state.current(choice)
wanted = st.session_state.pop("score_also", None)
if pressed or starts_by_itself(choice, shown):
    wanted = choice
if wanted is not None:
    st.session_state.pop("failed", None)
    try:
        start(wanted)
    except AdaRankError as error:
        st.session_state.failed = (wanted.asked, error)
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
        st.title("There are no scores of this", anchor=False)
    state.show_error(why)  # under it, an older picture would be taken for what was asked for
else:
    with heading:
        title(phrases.score_finding(shown.scores))
        state.origin(shown, phrases.detail(shown))
    show(shown, phrases.old_words(shown, choice.asked) if shown.stale else "", second)
    state.page_link("ranks", "Turn these scores into ranks")
