"""Ranks: a budget, split over the modules in proportion to their scores."""

import json

import pandas as pd
import streamlit as st

from adarank_core.allocation import RankPlan, allocate
from adarank_core.errors import AdaRankError
from adarank_core.export import snippet
from adarank_core.scores import Scores, read_json
from pages.parts import charts, state, words

BYTES = 4  # of a parameter in float32, as adapters are saved
EQUAL = {"rank": "sum of ranks", "parameters": "LoRA parameters"}
GROUPS = {"none": "together", "family": "by family"}


def stored_scores(source: str) -> None:
    """Draw the uploader for a scores.json; a good one becomes the current scores."""
    with st.expander("Start from a stored scores.json"):
        upload = st.file_uploader("scores.json", type="json", key="scores_file", max_upload_size=5)
        if upload is None or st.session_state.get("scores_file_id") == upload.file_id:
            return
        path = state.save_upload(upload.name, upload.getvalue())
        try:
            scores = Scores.from_dict(read_json(path))
        except AdaRankError as error:
            state.show_error(error, path)
            return
        st.session_state.scores_file_id = upload.file_id
        state.keep(state.Shown(scores, "your file", source))
        st.rerun()


def planned(shown: state.Shown, rank: int, budget_by: str, group_by: str) -> tuple[RankPlan, int]:
    """Return the plan and its uniform rank; the last good ones where the budget cannot be met."""
    scores = shown.scores
    try:
        plan = allocate(scores, rank, budget_by=budget_by, group_by=group_by)
    except AdaRankError as error:
        state.show_error(error)
        last = st.session_state.get("plan")
        if last is None or set(last[0].ranks) != {module.name for module in scores.modules}:
            st.stop()
        st.caption(f"Shown: the plan for an average rank of {last[1]}.")
        return last
    st.session_state.plan = (plan, rank)
    return plan, rank


def show(shown: state.Shown, plan: RankPlan, uniform: int) -> None:
    """Draw the plan: bars, what it costs, the table and the files."""
    scores, budget = shown.scores, plan.budget
    st.plotly_chart(
        charts.rank_bars(scores, plan, uniform),
        width="stretch",
        key="rank_bars",
        alt="LoRA rank of every module, grouped by layer, with the uniform rank as a line",
    )
    at_uniform = uniform * sum(m.in_features + m.out_features for m in scores.modules)
    used = budget["lora_parameters"]
    unit = "parameters" if budget["by"] == "parameters" else "ranks"
    cards = st.container(horizontal=True)
    cards.metric("LoRA parameters", f"{used:,}", width=170, border=True)
    cards.metric(
        "Against uniform",
        f"{used / at_uniform - 1:+.1%}",
        width=170,
        border=True,
        help=f"Uniform rank {uniform} has {at_uniform:,} LoRA parameters. Equal sums of ranks are "
        "not equal numbers of parameters where modules differ in size.",
    )
    size = f"{used * BYTES / 1e6:.2f} MB"
    cards.metric("Adapter", size, width=170, border=True, help="In float32.")
    cards.metric(
        f"Residual, {unit}",
        f"{budget['residual']:,}",
        width=170,
        border=True,
        help="What of the budget no whole rank could spend.",
    )
    table = pd.DataFrame(
        {
            "module": [charts.module_label(module) for module in scores.modules],
            "rank": [plan.ranks[module.name] for module in scores.modules],
            "uniform": [uniform] * len(scores.modules),
            "LoRA parameters": [
                plan.ranks[m.name] * (m.in_features + m.out_features) for m in scores.modules
            ],
            "alpha": [plan.alpha[module.name] for module in scores.modules],
            "path": [module.name for module in scores.modules],
        }
    )
    with st.expander("Data"):
        st.dataframe(table, hide_index=True, width="stretch")
        st.download_button(
            "ranks.csv", table.to_csv(index=False), "ranks.csv", "text/csv", on_click="ignore"
        )
        st.caption("Alpha is twice the rank, so that every module has the same scaling.")
    with st.expander("LoraConfig, ready to paste"):
        st.code(snippet(plan), language="python", height=420)
    with st.container(horizontal=True):
        st.download_button(
            "ranks.json",
            json.dumps(plan.to_dict(), indent=1) + "\n",
            "ranks.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "adapter_config.json",
            lambda: words.adapter_config(plan),
            "adapter_config.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )


head = st.container()
with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    slider = st.container(width=250)
    budget_by = st.segmented_control(
        "Kept equal to uniform",
        list(EQUAL),
        default="rank",
        required=True,
        key="equal",
        format_func=EQUAL.get,
        bind="query-params",
        persist_state="session",
        help="The same sum of ranks, or the same number of LoRA parameters.",
    )
    group_by = st.segmented_control(
        "Modules share the budget",
        list(GROUPS),
        default="none",
        required=True,
        key="share",
        format_func=GROUPS.get,
        bind="query-params",
        persist_state="session",
        help="In the published code each family of modules has a budget of its own.",
    )
choice = state.sidebar(budget_at=slider)
shown = state.current(choice)
plan, uniform = planned(shown, choice.average_rank, budget_by, group_by)
with head:
    st.title(state.plain(words.rank_finding(shown.scores, plan)), anchor=False)
    st.markdown(
        f"The budget of rank {uniform} a module, split in proportion to the scores: a module "
        "whose noise moves the answers more gets a larger rank."
    )
    state.badge(shown.kind, words.detail(shown))
show(shown, plan, uniform)
stored_scores(choice.source)
st.page_link(
    "pages/compare.py",
    label="Fine-tune with these ranks beside uniform ones",
    icon=":material/arrow_forward:",
)
