"""Ranks: a budget, split over the modules in proportion to their scores."""

import json

import streamlit as st

from adarank_core import numerals
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.ranks.allocation import RankPlan, lora_parameters
from adarank_core.ranks.export import adapter_config, snippet, starter_zip
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.ranks.recipes import CHECKED, recipes
from adarank_core.ranks.report import ranks_csv, report_html
from adarank_core.scoring.scores import Scores
from pages.parts.ranks import reproduction, what_if
from pages.parts.shared import charts, figures, glossary, link, phrases, state
from pages.parts.shared.link import linked
from pages.parts.shared.sidebar import sidebar
from pages.parts.shared.uploads import save_upload

BUDGETS = {"rank": "average rank", "parameters": "LoRA parameters", "adaptive": "adaptive"}
EQUAL = {"parameters": "LoRA parameters", "rank": "sum of ranks"}
GROUPS = {"none": "together", "family": "by family"}
SORTED = {"layer": "layer", "rank": "rank"}
SMALLEST, LARGEST, TEMPERATURES, PARAMETERS = (0, 64), (1, 4096), (0.0, 3.0), (1, 10**12)


def stored_scores(choice: state.Choice) -> None:
    """Draw the uploader for a scores.json; a good one becomes the current scores."""
    with st.expander("Start from a stored scores.json"):
        upload = st.file_uploader("scores.json", type="json", key="scores_file", max_upload_size=5)
        if upload is None or st.session_state.get("scores_file_id") == upload.file_id:
            return
        path = save_upload(upload.name, upload.getvalue())
        if path is None:
            return
        try:
            scores = Scores.from_dict(read_json(path))
        except AdaRankError as error:
            state.show_error(error, path)
            return
        st.session_state.scores_file_id = upload.file_id
        state.keep(state.Shown(scores, "your file", choice.source, asked=choice.asked))
        st.rerun()


def switch(label: str, options: dict, name: str, words: str) -> str:
    """Draw a segmented control that is in the link by a name."""
    return st.segmented_control(
        label,
        list(options),
        required=True,
        format_func=options.get,
        help=words,
        **linked(name),
    )


def controls() -> tuple[state.Choice, state.Shown, dict]:
    """Draw the budget and the rarer wishes; return what `allocate` is asked for."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        budget = switch(
            "Budget",
            BUDGETS,
            "budget",
            "What uniform LoRA of this rank would cost, a number of LoRA parameters, or none: "
            "adaptive ranks come out of the scores alone.",
        )
        place = st.container(width=250)
        equal = "parameters"
        if budget == "rank":
            equal = switch(
                "Kept equal to uniform",
                EQUAL,
                "equal",
                "The same number of LoRA parameters, or the same sum of ranks: that can cost more "
                "or fewer parameters than uniform ranks where modules differ in size.",
            )
        group_by = switch(
            "Modules share the budget" if budget != "adaptive" else "One unit for all modules",
            GROUPS,
            "share",
            "In the published code each family of modules has a budget of its own.",
        )
    uses = ("model", "text", "seed", *(["rank"] if budget == "rank" else []))
    choice = sidebar(uses, budget_at=place)
    shown = state.current(choice)
    options = {"group_by": group_by}
    if budget == "rank":
        options |= {"average_rank": choice.average_rank, "budget_by": equal}
    elif budget == "parameters":
        names = [module.name for module in shown.scores.modules]
        one = lora_parameters(shown.scores, dict.fromkeys(names, 1))
        if st.session_state.parameters is None:
            st.session_state.parameters = one * choice.average_rank
        options["parameters"] = place.number_input(
            "LoRA parameters",
            *PARAMETERS,
            step=one,
            help="At first what uniform ranks have; a step is one rank for every module.",
            **linked("parameters"),
        )
    else:
        options["adaptive"] = True
    with st.expander("Bounds, temperature, alpha"):
        options |= other_options()
    return choice, shown, options


def other_options() -> dict:
    """Draw the wishes that few have."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        lowest = st.number_input(
            "Smallest rank",
            *SMALLEST,
            width=150,
            help="0 may leave modules out.",
            **linked("min"),
        )
        highest = st.number_input(
            "Largest rank",
            *LARGEST,
            None,
            placeholder="no bound",
            width=150,
            help="Never above a module's smaller side in any case.",
            **linked("max"),
        )
        temperature = st.slider(
            "Temperature",
            *TEMPERATURES,
            step=0.1,
            width=220,
            help="The power to which scores are raised: 0 is uniform, 1 the paper.",
            **linked("temperature"),
        )
        policy = switch(
            "Alpha", {policy: policy for policy in ALPHA_POLICIES}, "alpha", "How LoRA scales."
        )
    st.caption(f"**{policy}**: {state.plain(ALPHA_POLICIES[policy])}.")
    return {
        "min_rank": lowest,
        "max_rank": highest,
        "temperature": temperature,
        "alpha_policy": policy,
    }


def about(now: what_if.Planned) -> str:
    """Say in a sentence where the ranks come from."""
    budget = now.plan.budget
    average = f"{budget['average_rank']:.3g}"
    if budget["by"] == "adaptive":
        units = [
            f"{numerals.number(unit)}" if family == "all" else f"{family} {numerals.number(unit)}"
            for family, unit in budget["units"].items()
        ]
        return (
            f"No budget: the ranks come out of the scores alone and average **{average}**. One "
            f"rank is worth a score of {state.plain(', '.join(units))}, the tenth percentile. "
            f"Scored again, the average would be from {now.averages[0]:.3g} to "
            f"{now.averages[1]:.3g}: more texts and trials narrow that."
        )
    power = budget.get("temperature", 1)
    to_the = "" if power == 1 else f" to the power {power:g}"
    what = "LoRA parameters" if budget["by"] == "parameters" else "ranks"
    average_rank = now.options.get("average_rank")  # parameters may be the budget themselves
    uniform = f", as many as uniform rank {average_rank:g} has" if average_rank else ""
    return (
        f"{budget['requested']:,} {what}{uniform}, split in proportion to the scores{to_the}: "
        f"rank {average} on average, and more for a module whose noise moves the answers "
        f"more.{by_hand(budget)}"
    )


def by_hand(budget: dict) -> str:
    """Say in a sentence how many ranks were not left to the scores."""
    kinds = (("pinned", "pinned by hand"), ("excluded", "left out"))
    counts = [f"{len(budget[key])} {words}" for key, words in kinds if budget.get(key)]
    return f" Of the modules, {' and '.join(counts)}." if counts else ""


def files(scores: Scores, plan: RankPlan) -> None:
    """Draw the config ready to paste, and the plan in every form that it has."""
    source = snippet(plan)
    folded = st.expander("LoraConfig, ready to paste", key="config_lines", on_change="rerun")
    if folded.open:
        folded.code(source, language="python", wrap_lines=True)
    offers = {
        "ranks.json": (json.dumps(plan.to_dict(), indent=1) + "\n", "application/json"),
        # It imports peft, which takes seconds: on a click only.
        "adapter_config.json": (lambda: adapter_config(plan), "application/json"),
        "lora_config.py": (source, "text/x-python"),
        "ranks.csv": (lambda: ranks_csv(plan, scores), "text/csv"),
        "report.html": (lambda: report_html(plan, scores), "text/html"),
    }
    with st.container(horizontal=True):
        for name, (content, kind) in offers.items():
            st.download_button(
                name, content, name, kind, icon=":material/download:", on_click="ignore"
            )


def elsewhere(scores: Scores, plan: RankPlan) -> None:
    """Draw how the ranks are used in other programs, and the adapter that these go on from."""
    folded = st.expander(
        "How to use it in PEFT, TRL, axolotl, LLaMA-Factory, Unsloth, vLLM",
        key="elsewhere",
        on_change="rerun",
    )
    if not folded.open:
        return
    with folded:
        st.markdown(
            "Most trainers know one rank for all modules, but go on from an adapter with whatever "
            "ranks it has. The **starter adapter** is one that is not trained: the planned ranks "
            "and scalings, A drawn from the seed, B zero, so that it changes nothing yet."
        )
        st.download_button(
            "Starter adapter (zip)",
            lambda: starter_zip(plan, scores),
            "starter-adapter.zip",
            "application/zip",
            key="starter_zip",
            icon=":material/download:",
            on_click="ignore",
            help="With its LoraConfig, ranks.json, report and a model card. In a shell: "
            "`export --starter`.",
        )
        found = recipes(plan)
        for tab, recipe in zip(st.tabs([each.program for each in found]), found, strict=True):
            with tab:
                st.caption(recipe.about)
                st.code(recipe.text, language=recipe.language, wrap_lines=True)
        st.caption(
            f"PEFT's lines are run by this project's tests. The others' options were read in their "
            f"sources in {CHECKED}."
        )


def again(shown: state.Shown, now: what_if.Planned) -> None:
    """Draw how to get the same ranks in a shell and in Python."""
    folded = st.expander("The same in a shell and in Python", key="again", on_change="rerun")
    if not folded.open:
        return
    with folded:
        if shown.kind == "your file":
            st.caption("They begin with your file, called scores.json.")
        lines = reproduction.shell_lines(shown, now.options)
        st.code(lines, language="shell", wrap_lines=True)
        lines = reproduction.python_lines(shown, now.options)
        st.code(lines, language="python", wrap_lines=True)


def hand_over(plan: RankPlan) -> bool:
    """Draw the button that takes the plan, with its pins, to Compare as an arm of its own.

    Return whether that was refused, which is said.
    """
    if st.button(
        "Next: fine-tune with these ranks, and compare",
        key="ranks_compare",
        type="primary",
        icon=":material/show_chart:",
        help="They become one more arm on the page Compare, beside uniform ranks.",
    ):
        content = json.dumps(plan.to_dict(), indent=1) + "\n"
        path = save_upload("edited-ranks.json", content.encode())
        if path is None:
            return True
        st.session_state[state.OWN_PLAN] = str(path)
        st.switch_page("pages/compare.py", query_params=link.query())
    return False


state.open_page()
head = st.container()
choice, shown, options = controls()
scores, now = shown.scores, what_if.planned(shown.scores, options)
with head:
    title = "No plan meets these wishes"
    if now is not None:
        by_choice = (now.options.get("pinned", ()), now.options.get("excluded", ()))
        title = phrases.rank_finding(scores, now.plan, *by_choice)
    st.title(state.plain(title), anchor=False)
    if now is not None:
        st.markdown(about(now), help=glossary.explained("rank", "disagreement", "module"))
    state.origin(shown, phrases.detail(shown))
    old = phrases.old_words(shown, choice.asked, "Explore") if shown.stale else ""
    if old:
        state.page_link("explore", "Score on Explore")
if now is not None:
    if st.session_state.get("rank_rows") and now.scores_sha256 == scores.sha256:
        now = what_if.measure(scores, now)  # a table is drawn once, or it may lose what is typed
    picture = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        by_rank = switch("Sorted by", SORTED, "sort", "Of the chart and of the table.") == "rank"
        other = what_if.beside(scores, now)
    bars = charts.rank_bars(scores, now.plan, now.uniform, now.intervals, other, by_rank)
    figures.draw(
        figures.signed(charts.say_old(bars, old), phrases.detail(shown)),
        picture,
        key="rank_bars",
        alt="LoRA rank of every module, coloured by family and sorted by "
        + ("rank" if by_rank else "layer")
        + ", with whiskers where the scores leave it open and the uniform rank as a line"
        + (f"; grey diamonds: {other[0]}" if other else ""),
    )
    what_if.costs(scores, now)
    files(scores, now.plan)
    elsewhere(scores, now.plan)
    again(shown, now)
    rows = st.expander(
        "Every module's rank: change it, pin it, leave it out", key="rank_rows", on_change="rerun"
    )
    if rows.open:
        with rows:
            what_if.table(scores, now, other, by_rank)
stored_scores(choice)
if now is not None:
    refused = hand_over(now.plan)
    if now.intervals is None and now.scores_sha256 == scores.sha256 and not refused:
        what_if.measure(scores, now)  # the bars are on screen: now their whiskers
        state.draw_again()
