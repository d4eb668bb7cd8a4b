"""The form that starts a comparison, and the command line that it stands for."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from adarank_core.comparison.arms import ARMS, GROUPS, arm_label, check_arms
from adarank_core.comparison.inputs import model_path
from adarank_core.comparison.learning_rates import AUTO, check_learning_rates
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.errors import AdaRankError
from adarank_core.hardware import cores
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.runs.jobs import Run
from adarank_core.runs.progress import duration, seconds_expected
from adarank_core.training.settings import Settings
from pages.parts.compare.asked import ALPHAS
from pages.parts.compare.judgement import METRICS
from pages.parts.compare.outcome import task_label
from pages.parts.shared import glossary, link, state
from pages.parts.shared.link import GRID, RATES, linked
from pages.parts.shared.uploads import save_upload

__all__ = ["arguments", "launcher", "rates_from", "seeds_from"]

ONE, SEVERAL, GROWING = RATES.values()
#: What the arms of a group are for.
GROUP_WORDS = dict(
    zip(
        GROUPS,
        (
            "Ranks from disagreement, the method itself.",
            "What needs no score: LoRA as it is, in other places, or none at all.",
            "What would do as well if the score said nothing, or no more than something simpler.",
            "The same budget, split by another importance score.",
            "Methods of others that choose ranks too, or where training begins.",
        ),
        strict=True,
    )
)


def arguments(config: dict) -> list[str]:
    """Return the command line of a comparison, without its output folder.

    Parameters
    ----------
    config : dict
        As a comparison keeps it.

    Returns
    -------
    list of str
        One word a flag.

    Examples
    --------
    >>> config = {"model": "embedded", "task": "docstrings", "arms": ["uniform"], "seeds": [0],
    ...           "average_rank": 2.0, "trials": None, "settings": {"steps": 10}}
    >>> arguments(config)[:3]
    ['compare', '--model=embedded', '--task=docstrings']
    """
    return ["compare", *ComparisonRequest.from_dict(config).flags()]


def seeds_from(text: str) -> list[int]:
    """Read whole numbers with commas between them.

    Examples
    --------
    >>> seeds_from("0, 1,2")
    [0, 1, 2]
    """
    try:
        return [int(seed) for seed in text.split(",") if seed.strip()]
    except ValueError:
        raise AdaRankError(f"seeds is {text!r}; give whole numbers such as 0,1,2") from None


def rates_from(text: str) -> list[float]:
    """Read the learning rates of a grid, with commas between them.

    Examples
    --------
    >>> rates_from("1e-3, 0.005")
    [0.001, 0.005]
    """
    try:
        rates = [float(rate) for rate in text.split(",") if rate.strip()]
    except ValueError:
        raise AdaRankError(f"learning_rates is {text!r}; give numbers such as {GRID}") from None
    check_learning_rates(rates)
    return rates


def launcher(choice: state.Choice, recent: Sequence[Run]) -> dict | None:
    """Draw the form that starts a comparison.

    Parameters
    ----------
    choice : Choice
    recent : sequence of Run
        Comparisons on this machine, the newest first: for how long this one will take.

    Returns
    -------
    dict or None
        What a comparison was just asked for.
    """
    st.header("Your own comparison", anchor=False)
    arms = _arms()
    first = choice.seed
    seeds = st.text_input(
        "Seeds",
        placeholder=f"{first},{first + 1},{first + 2}",
        help="Every arm is trained once with each. One seed decides nothing; five are better "
        "than three. Left empty, they are the sidebar's and the two after it.",
        **linked("seeds"),
    )
    seeds = seeds.strip() or f"{first},{first + 1},{first + 2}"
    left, right = st.columns(2)
    steps = left.number_input("Steps", 1, 100_000, **linked("steps"))
    batch = right.number_input("Batch size", 1, 1024, **linked("batch"))
    config = {
        "model": model_path(choice.model),  # the run has another working folder
        "task": choice.task,
        "arms": arms,
        "average_rank": choice.average_rank,
        "settings": {"steps": int(steps), "batch_size": int(batch)},
    }
    with st.expander("More"):
        grid, side_by_side, path = _more(config)
    problem = None
    try:
        config["seeds"] = seeds_from(seeds)
        if grid is not None:
            config["learning_rates"] = grid if grid == AUTO else rates_from(grid)
        if (workers := min(side_by_side, len(config["seeds"]))) > 1:
            config["side_by_side"] = workers
    except AdaRankError as error:
        problem = error
    st.caption(
        f"On **{state.plain(task_label(choice.task))}** with **{state.plain(choice.model)}** at "
        f"average rank **{choice.average_rank}**, as the sidebar says."
    )
    if problem is None and (seconds := seconds_expected(config, recent)) is not None:
        st.caption(f"It takes about {duration(seconds)}, at the pace of your last one like it.")
    if st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        help="Where another run is at work, this one waits for its turn.",
        key="compare_start",
    ):
        try:
            if problem is not None:
                raise problem
            check_arms(arms, config["seeds"])
            ComparisonRequest.from_dict(config).check()
            return config
        except AdaRankError as error:
            state.show_error(error, path)
    return None


def _more(config: dict) -> tuple[str | None, int, Path | None]:
    """Draw what is seldom changed, into a config; return the grid, seeds at once, and an upload."""
    rate, grid = _learning_rate()
    if rate != Settings.learning_rate:
        config["settings"]["learning_rate"] = rate
    alpha = st.selectbox(
        "Alpha",
        list(ALPHA_POLICIES),
        format_func=lambda policy: f"{policy}: {ALPHAS[policy]}",
        help="LoRA multiplies by alpha over the rank (rsLoRA: over its root), and with Adam a "
        "module moves about as far as that times its rank. A ranks.json keeps its own alpha.",
        **linked("arm_alpha"),
    )
    if alpha != "proportional":
        config["alpha"] = alpha
    config["trials"] = int(
        st.number_input(
            "Trials",
            2,
            200,
            help="For the arms whose ranks come from disagreement. More take longer and give surer "
            "ranks.\n\n" + glossary.explained("trials"),
            **linked("arm_trials"),
        )
    )
    _question(config)
    side_by_side, path = _side_by_side(), None
    own = st.file_uploader("One more arm: a ranks.json", type="json", key="compare_own")
    if own is not None:
        path = save_upload(own.name, own.getvalue())
        if path is not None and str(path) not in config["arms"]:
            config["arms"].append(str(path))
    return grid, side_by_side, path


def _question(config: dict) -> None:
    """Draw what the verdict is about, into a config."""
    metric = st.selectbox(
        "Primary metric",
        list(METRICS),
        format_func=METRICS.get,
        help="Settled before anything is measured. The verdict is about it; the others are shown "
        "without a claim. AUC is measured of two classes.\n\n"
        + glossary.explained("loss", "nats", "accuracy", "macro-F1", "AUC"),
        **linked("metric"),
    )
    if metric != "test_loss":
        config["metric"] = metric
    smallest = st.number_input(
        "Smallest difference of interest",
        0.0,
        100.0,
        step=0.005,
        format="%g",
        help="In the metric's unit (nats a text, or a share such as 0.01): one below it matters to "
        "nobody. 0 leaves it to the arms: a tenth of what uniform gains over head-only, where both "
        "are there.",
        **linked("smallest"),
    )
    if smallest > 0:
        config["smallest_of_interest"] = float(smallest)


def _toggle(arm: str) -> None:
    """Take an arm into the comparison, or out of it."""
    arms = st.session_state.compare_arms
    link.choose("arms", [one for one in arms if one != arm] if arm in arms else [*arms, arm])


def _arms() -> list[str]:
    """Draw the list of arms, with the plan that came from the page Ranks; return the chosen."""
    arms = st.session_state.compare_arms
    with st.popover(
        f"Arms: {', '.join(arms) or 'none'}", icon=":material/checklist:", width="stretch"
    ):
        st.caption(
            "What is trained beside each other. Each way of choosing ranks has its question."
        )
        for group in GROUPS:
            st.markdown(f"**{group[0].upper()}{group[1:]}**", help=GROUP_WORDS[group])
            for arm in (arm for arm in ARMS.values() if arm.group == group):
                st.session_state[f"compare_arm_{arm.name}"] = arm.name in arms
                st.checkbox(
                    f"**{arm.name}**: {arm.question}",
                    key=f"compare_arm_{arm.name}",
                    on_change=_toggle,
                    args=(arm.name,),
                )
    for arm in arms:
        st.caption(f"**{arm}**: {ARMS[arm].question}")
    plan = st.session_state.get(state.OWN_PLAN)
    if plan is not None and not Path(plan).is_file():
        del st.session_state[state.OWN_PLAN]
        plan = None
    if plan is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"**{state.plain(arm_label(str(plan)))}**: your plan from the page Ranks",
                width="stretch",
            )
            st.button(
                "Drop",
                key="compare_drop_plan",
                icon=":material/close:",
                type="tertiary",
                on_click=st.session_state.pop,
                args=(state.OWN_PLAN, None),
            )
    if "adarank" in arms and "permuted" not in arms:
        st.caption(
            "Worth adding: **permuted**. If AdaRank's ranks do as well when they are shuffled, it "
            "did not find the right modules."
        )
    return [*arms, *([] if plan is None else [str(plan)])]


def _learning_rate() -> tuple[float, str | None]:
    """Draw the choice of the learning rate; return it, and the grid where one is asked for."""
    how = st.segmented_control(
        "Learning rate",
        [ONE, SEVERAL, GROWING],
        required=True,
        help="With a grid, every arm is first trained at each rate with two seeds of their own, "
        "and takes the one with the lowest validation loss. A *growing grid* goes on by factors "
        "of 2 until the best is not at the end. That time is counted as the arm's.",
        **linked("rates"),
    )
    if how == SEVERAL:
        grid = st.text_input("Rates to try", **linked("grid"))
        return Settings.learning_rate, grid
    if how == GROWING:
        return Settings.learning_rate, AUTO
    rate = st.number_input(
        "Rate",
        1e-6,
        1.0,
        step=1e-3,
        format="%g",
        label_visibility="collapsed",
        **linked("rate"),
    )
    return float(rate), None


def _side_by_side() -> int:
    """Draw how many seeds are trained at the same time, where there is a choice."""
    if cores() == 1:
        return 1
    if st.session_state.compare_side_by_side > cores():  # a link from a larger machine
        st.session_state.compare_side_by_side = cores()
    return int(
        st.number_input(
            "Seeds side by side",
            1,
            cores(),
            help="Each is a process of its own, and they share the cores: more memory, and often "
            "less time. Never more than there are seeds.",
            **linked("side_by_side"),
        )
    )
