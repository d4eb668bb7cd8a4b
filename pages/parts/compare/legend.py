"""The arms of a comparison as cards: what each controls for, how large it is and what it took."""

import streamlit as st

from adarank_core.comparison.arms import ARMS, arm_label
from adarank_core.comparison.tables import mean_over_runs
from adarank_core.runs.events import arm_facts, finished_results
from pages.parts.shared import state

__all__ = ["arm_sentences", "draw_legend"]


def arm_sentences(config: dict, events) -> dict[str, tuple[str, str, str]]:
    """Say of every arm what it controls for, what is known of it, and why it failed.

    Parameters
    ----------
    config : dict
        The run's.
    events : sequence of dict

    Returns
    -------
    dict
        By arm three texts, of which the latter two may be empty.

    Examples
    --------
    >>> plan = {"event": "plan", "arm": "adarank", "seed": 0, "budget": {"lora_parameters": 1020}}
    >>> arm_sentences({"arms": ["adarank"]}, [{**plan, "residual": 4}])["adarank"][1]
    '1,020 LoRA parameters, 4 short of the budget'
    """
    facts, results = arm_facts(events), finished_results(events)
    found = {}
    for arm in config["arms"]:
        about, result, known = facts.get(arm, {}), results.get(arm), ARMS.get(arm)
        said = []
        if known is not None and known.trains:
            said.append(known.trains)
        elif result and result["lora_parameters"] != about.get("lora_parameters"):
            said.append(f"{result['lora_parameters']:,} LoRA parameters at the end")
        elif "lora_parameters" in about:
            count = f"{about['lora_parameters']:,} LoRA parameters"
            said.append(count + _short(about.get("residual")))
        if result and result["allocation_seconds"] > 0:
            said.append(f"{_seconds(result['allocation_seconds'])} for its ranks")
        if result:
            trained = mean_over_runs(result["runs"], "train_seconds")
            a_seed = " a seed" if len(config.get("seeds", ())) > 1 else ""
            if trained is not None:
                said.append(f"{_seconds(trained)} of training{a_seed}")
        if "learning_rate" in about:
            searched = _seconds(about["search_seconds"])
            edge = ", at the end of those tried" if about.get("learning_rate_at_edge") else ""
            said.append(f"learning rate {about['learning_rate']:g}, found in {searched}{edge}")
        failed = about.get("failed", "")
        question = "ranks from a file" if known is None else known.question
        found[arm] = (question, " · ".join(said), failed)
    return found


def draw_legend(config: dict, events) -> None:
    """Draw a card an arm.

    Parameters
    ----------
    config : dict
        The run's; nothing is drawn as long as it is empty.
    events : sequence of dict
    """
    if not config:
        return
    with st.container(border=True, gap="small"):
        for arm, (about, known, failed) in arm_sentences(config, events).items():
            lines = [f"**{state.plain(arm_label(arm))}**: {state.plain(about)}"]
            if known:
                lines.append(state.plain(known))
            if failed:
                lines.append(f":red[given up: {state.plain(failed)}]")
            st.caption("  \n".join(lines))


def _short(residual: int | None) -> str:
    if residual is None:
        return ""
    if residual == 0:
        return ", exactly the budget"
    return f", {abs(residual):,} {'short of' if residual > 0 else 'over'} the budget"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
