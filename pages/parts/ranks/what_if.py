"""What if: ranks that are edited and pinned, what they cost, and another plan laid beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import streamlit as st

from adarank_core.errors import AdaRankError
from adarank_core.numerals import signed
from adarank_core.ranks.allocation import RankPlan, allocate, uniform_plan
from adarank_core.ranks.costs import module_parameters, plan_costs, uniform_rank
from adarank_core.ranks.intervals import average_interval, rank_intervals
from adarank_core.ranks.plan_files import read_plan
from adarank_core.scoring.labels import public_name
from adarank_core.scoring.scores import Scores
from pages.parts.shared import charts, link, state
from pages.parts.shared.link import linked
from pages.parts.shared.uploads import save_upload

__all__ = ["Planned", "Wishes", "beside", "costs", "measure", "planned", "table", "wishes_after"]

NONE, UNIFORM, REMEMBERED, FILE = "nothing", "uniform", "these, as they are now", "a file"
HIGHEST_TABLE = 42  # rows; a longer one scrolls by itself


@dataclass(frozen=True)
class Wishes:
    """What a person typed into the table.

    Parameters
    ----------
    pinned : dict of str to int
        Ranks by module; the others share the rest of the budget.
    excluded : tuple of str
        Modules without LoRA.
    """

    pinned: dict[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()

    def options(self, names: set[str]) -> dict:
        """Return those of these modules as keyword arguments of `allocate`."""
        pinned = {name: rank for name, rank in self.pinned.items() if name in names}
        excluded = [name for name in self.excluded if name in names]
        return ({"pinned": pinned} if pinned else {}) | ({"excluded": excluded} if excluded else {})


@dataclass(frozen=True)
class Planned:
    """A plan on screen, what it was asked for, and how sure its ranks are.

    Parameters
    ----------
    plan : RankPlan
    options : dict
        Keyword arguments of `allocate`.
    scores_sha256 : str
    uniform : float
        The rank that uniform LoRA has at the same budget.
    averages : tuple of float, optional
        Of adaptive ranks, between which averages they would come out again.
    intervals : dict of str to (int, int), optional
        By module, between which ranks it would come out again; they take longer than all else, so
        the ranks are on screen before them.
    """

    plan: RankPlan
    options: dict
    scores_sha256: str
    uniform: float
    averages: tuple[float, float] | None = None
    intervals: dict[str, tuple[int, int]] | None = None


def planned(scores: Scores, options: dict) -> Planned | None:
    """Return the plan of these options with what was typed into the table.

    What was typed is refused, with the core's sentence, where no plan can have it. Where the
    options themselves cannot be met, the last good plan of these modules stays.

    Parameters
    ----------
    scores : Scores
    options : dict
        Keyword arguments of `allocate`, without ``pinned``.

    Returns
    -------
    Planned or None
        ``None`` where there is no good plan yet.
    """
    names = {module.name for module in scores.modules}
    before = _wishes_of_link(scores)
    typed = _wishes_with_edits(before)
    last = st.session_state.get("planned")
    refusal = st.session_state.get("rank_refusal")
    if refusal is not None and (typed != before or refusal.options != options):
        del st.session_state.rank_refusal  # something else is asked for now
    for wishes in [typed] if typed == before else [typed, before]:
        try:
            new = _allocate_if_changed(scores, {**options, **wishes.options(names)}, last)
        except AdaRankError as error:
            if wishes == before:
                state.show_error(error)
                if wishes != Wishes():  # such as of a link; there may be no table to change it in
                    st.button(
                        "Let go of all that is pinned or left out",
                        key="rank_let_go",
                        icon=":material/restart_alt:",
                        on_click=_forget_wishes,
                    )
            else:  # said at the table
                refused = {**typed.pinned, **dict.fromkeys(typed.excluded, "out")}
                had = {**before.pinned, **dict.fromkeys(before.excluded, "out")}
                cells = {name: value for name, value in refused.items() if had.get(name) != value}
                st.session_state.rank_refusal = Refusal(str(error), cells, options)
            continue
        st.session_state.planned = new
        _keep_wishes(wishes, scores)
        return new
    if last is None or set(last.plan.ranks) != names:
        return None
    average = f"{last.plan.budget['average_rank']:.3g}"
    st.caption(f"Shown: the last plan that could be met, with an average rank of {average}.")
    return last


@dataclass(frozen=True)
class Refusal:
    """Why what was typed could not be had, into which modules' rows, beside which options."""

    sentence: str
    cells: dict[str, int | float | str]
    options: dict


def _allocate_if_changed(scores: Scores, options: dict, last: Planned | None) -> Planned:
    if last and last.scores_sha256 == scores.sha256 and last.options == options:
        return last
    plan = allocate(scores, **options)
    averages = average_interval(scores, **options) if options.get("adaptive") else None
    return Planned(plan, options, scores.sha256, uniform_rank(scores, plan), averages)


def measure(scores: Scores, now: Planned) -> Planned:
    """Add its intervals to the plan on screen; `planned` returns it with them from then on."""
    if now.intervals is None:
        now = replace(now, intervals=rank_intervals(scores, **now.options))
        st.session_state.planned = now
    return now


def wishes_after(
    changes: Mapping[int, Mapping], shown: Sequence[tuple[str, int]], wishes: Wishes
) -> Wishes:
    """Return the wishes after the table was edited; of one module the last wish counts.

    Parameters
    ----------
    changes : mapping of int to mapping
        By row, the new values of ``rank``, ``pinned`` and ``left out``, as Streamlit tells them.
    shown : sequence of (str, int)
        Every row's module and the rank it showed.
    wishes : Wishes

    Returns
    -------
    Wishes

    Examples
    --------
    >>> rows = [("query", 4), ("key", 12)]
    >>> wishes_after({0: {"rank": 6}, 1: {"left out": True}}, rows, Wishes())
    Wishes(pinned={'query': 6}, excluded=('key',))
    >>> wishes_after({0: {"pinned": False}}, rows, Wishes({"query": 6}))
    Wishes(pinned={}, excluded=())
    """
    pinned, excluded = dict(wishes.pinned), dict.fromkeys(wishes.excluded)
    for row, change in changes.items():
        name, rank = shown[int(row)]
        if change.get("left out"):
            pinned.pop(name, None)
            excluded[name] = None
            continue
        excluded.pop(name, None)
        if "rank" in change or "pinned" in change:
            rank = change.get("rank", rank)
            if change.get("pinned", True) and rank is not None:
                # What is no whole number stays as it is: the core says so.
                pinned[name] = int(rank) if float(rank).is_integer() else rank
            else:
                pinned.pop(name, None)  # let go, or the cell was emptied
    return Wishes(pinned, tuple(excluded))


def _wishes_of_link(scores: Scores) -> Wishes:
    """Return the wishes of this session, or those of a link that was opened since.

    In the link a module is its place in the model: a pin is such as ``3:12``, with its rank.
    """
    texts = (st.session_state.pins_link, st.session_state.without_link)
    if texts != st.session_state.get("rank_wishes_link", ("", "")):
        names = [module.name for module in scores.modules]
        pairs = [map(int, pair.split(":")) for pair in texts[0].split(",") if pair]
        left_out = [int(at) for at in texts[1].split(",") if at]
        excluded = tuple(dict.fromkeys(names[at] for at in left_out if at < len(names)))
        pinned = {names[at]: rank for at, rank in pairs if at < len(names)}
        pinned = {name: rank for name, rank in pinned.items() if name not in excluded}
        st.session_state.rank_wishes = Wishes(pinned, excluded)
        st.session_state.rank_wishes_link = texts
        _renew_table()
    return st.session_state.get("rank_wishes", Wishes())


def _keep_wishes(wishes: Wishes, scores: Scores) -> None:
    """Keep the wishes for all models in the session, and those for this one in the link."""
    here = list(enumerate(module.name for module in scores.modules))
    pins = ",".join(f"{at}:{wishes.pinned[name]}" for at, name in here if name in wishes.pinned)
    without = ",".join(str(at) for at, name in here if name in wishes.excluded)
    st.session_state.rank_wishes = wishes
    for name, text in (("pins", pins), ("without", without)):
        if text != st.session_state[f"{name}_link"]:
            link.choose(name, text)
    # Last: a run that ends before it takes the wishes out of the link once more.
    st.session_state.rank_wishes_link = pins, without


def _wishes_with_edits(wishes: Wishes) -> Wishes:
    """Return the wishes with what was typed into the table since the last run."""
    if "rank_table" not in st.session_state:
        return wishes
    key, rows, before = st.session_state.rank_table
    changes = {}
    for row, change in _edits(key).items():  # those of earlier runs too
        old = before.get(row, {})
        new = {name: value for name, value in change.items() if (name, value) not in old.items()}
        if new:
            changes[row] = new
    return wishes_after(changes, rows, wishes)


def _edits(key: str) -> dict[int, dict]:
    """Return what was typed into a table since it began anew: by row, values by column."""
    return {
        row: dict(change)
        for row, change in st.session_state.get(key, {}).get("edited_rows", {}).items()
    }


def _table_key(names: list[str], columns: dict) -> str:
    """Return the key of the table to be drawn: the last one's, so that the focus stays in it.

    Its edits are kept in the browser and drawn over the rows, so it begins anew where they are
    other rows now, or say something else.
    """
    drawn = st.session_state.get("rank_table")
    if drawn is not None and (
        [name for name, _ in drawn[1]] != names
        or any(
            columns[column][int(row)] != value
            for row, change in _edits(drawn[0]).items()
            for column, value in change.items()
        )
    ):
        _renew_table()
    return f"rank_table_{st.session_state.setdefault('rank_table_number', 0)}"


def _renew_table() -> None:
    st.session_state.rank_table_number = st.session_state.get("rank_table_number", 0) + 1
    st.session_state.pop("rank_table", None)


def _forget_wishes() -> None:
    st.session_state.rank_wishes = Wishes()  # the next plan takes them out of the link
    st.session_state.pop("rank_refusal", None)
    _renew_table()


def table(scores: Scores, now: Planned, other: tuple[str, dict] | None, by_rank: bool) -> None:
    """Draw the table whose ranks can be edited and pinned.

    Parameters
    ----------
    scores : Scores
    now : Planned
    other : (str, dict of str to int), optional
        Name and ranks of the plan laid beside.
    by_rank : bool
        The largest rank first, as in the chart.
    """
    plan, pinned = now.plan, now.options.get("pinned", {})
    excluded = now.options.get("excluded", [])
    modules = list(scores.modules)
    if by_rank:
        modules.sort(key=lambda module: -plan.ranks[module.name])
    names = [module.name for module in modules]
    parameters, scaling = module_parameters(scores, plan.ranks), plan.scaling
    columns = {
        "module": [charts.module_label(module) for module in modules],
        "rank": [plan.ranks[name] for name in names],
        "pinned": [name in pinned for name in names],
        "left out": [name in excluded for name in names],
        "may be": [_interval_words(now.intervals, name) for name in names],
        "uniform": [round(now.uniform, 2)] * len(names),
        "LoRA parameters": [parameters[name] for name in names],
        "alpha": [plan.alpha[name] for name in names],
        "scaling": [scaling.get(name) for name in names],
        "path": names,
    }
    if other is not None:
        values = [other[1][name] for name in names]
        columns = _insert_column(columns, "uniform", f"beside: {other[0]}", values)
    refusal = st.session_state.get("rank_refusal")
    if refusal is not None:
        st.error(state.plain(state.capitalised(refusal.sentence)))
        cells = [f"not {refusal.cells[name]}" if name in refusal.cells else "" for name in names]
        columns = _insert_column(columns, "rank", "refused", cells)
    key = _table_key(names, columns)
    st.data_editor(
        pd.DataFrame(columns),
        key=key,
        hide_index=True,
        height="content" if len(names) <= HIGHEST_TABLE else 35 * HIGHEST_TABLE,
        disabled=[name for name in columns if name not in ("rank", "pinned", "left out")],
        column_config={
            # No bounds: the browser would cut what is beyond them without a word.
            "rank": st.column_config.NumberColumn(
                "rank", step=1, help="At most the module's smaller side; 0 gives it no LoRA."
            ),
            "pinned": st.column_config.CheckboxColumn(
                "pinned", help="Stays as it is while the others share the rest of the budget."
            ),
            "left out": st.column_config.CheckboxColumn(
                "left out", help="Gets no LoRA; the others share its part of the budget."
            ),
            "may be": st.column_config.TextColumn(
                "may be", help="Where 95 % of the ranks fall, by the scores' standard errors."
            ),
            "LoRA parameters": st.column_config.NumberColumn(format="localized"),
            "scaling": st.column_config.NumberColumn(
                "scaling",
                format="%.2f",
                help="What LoRA multiplies B A by: alpha / rank, in rslora alpha / √rank.",
            ),
        },
        alt="LoRA rank of every module, to be edited",
    )
    rows = [(name, plan.ranks[name]) for name in names]
    st.session_state.rank_table = (key, rows, _edits(key))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Reset",
            key="rank_reset",
            icon=":material/restart_alt:",
            on_click=_forget_wishes,
            disabled=not (pinned or excluded),
            help="Lets go of every pinned rank and of every module that is left out.",
        )
        st.caption(
            f"{len(pinned) or 'None'} pinned, {len(excluded) or 'none'} left out. Click a rank "
            "and type to pin it; the other modules share the rest."
        )


def _interval_words(intervals: Mapping[str, tuple[int, int]] | None, name: str) -> str:
    if intervals is None:
        return "…"
    low, high = intervals[name]
    return "settled" if low == high else f"{low} to {high}"


def _insert_column(columns: dict, after: str, name: str, values: list) -> dict:
    result = {}
    for key, column in columns.items():
        result[key] = column
        if key == after:
            result[name] = values
    return result


def costs(scores: Scores, now: Planned) -> None:
    """Draw what the plan costs, in numbers."""
    cost = plan_costs(scores, now.plan)
    budget = now.plan.budget
    left = f"{budget['residual']:,}" if budget["residual"] else "none"
    unit = "parameters" if budget["by"] == "parameters" else "ranks"

    def card(label: str, value: str, about: str, words: str) -> None:
        row.metric(
            label,
            value,
            about,
            delta_color="off",
            delta_arrow="off",
            border=True,
            help=words,
        )

    row = st.container(horizontal=True)
    card(
        "LoRA parameters",
        f"{cost.lora_parameters:,}",
        f"{signed(cost.against_uniform, 1, '%')} against uniform",
        f"What training learns: {cost.share:.2%} of the {cost.weights:,} weights of these "
        f"{len(scores.modules)} modules. Uniform LoRA of rank {cost.uniform_rank:.3g} has "
        f"{cost.uniform_parameters:,}. Equal sums of ranks are not equal numbers of parameters "
        "where modules differ in size. Of the budget, what no whole rank could spend is left over: "
        f"{left} of {budget['requested']:,} {unit}.",
    )
    card(
        "Adapter",
        f"{cost.adapter_bytes / 1e6:.2f} MB",
        f"{cost.padded_bytes / 1e6:.2f} MB padded",
        "The file that is saved, in float32. Some servers know one rank for all modules; for them "
        "export's --adapter pads a trained adapter to the largest rank, with the same logits.",
    )
    card(
        "Optimizer",
        f"{cost.optimizer_bytes / 1e6:.2f} MB",
        "AdamW, float32",
        "What training keeps for LoRA's parameters beside them: a gradient and AdamW's two "
        "moments, 12 bytes a parameter. Activations and the head come on top.",
    )
    settled = "…"
    if now.intervals is not None:
        settled = sum(low == high for low, high in now.intervals.values())
    card(
        "Settled ranks",
        f"{settled} of {len(scores.modules)}",
        "the rest may differ",
        "Ranks that stay the same in 95 % of the draws when all scores are drawn anew within "
        "their standard errors. Pinned ranks count.",
    )


def beside(scores: Scores, now: Planned) -> tuple[str, dict[str, int]] | None:
    """Draw the choice of a second plan; return its name and ranks.

    Parameters
    ----------
    scores : Scores
    now : Planned
        Can be remembered, to be compared with what is made of it.

    Returns
    -------
    (str, dict of str to int) or None
    """
    kind = st.segmented_control(
        "Show beside them",
        [NONE, UNIFORM, REMEMBERED, FILE],
        required=True,
        help="Other ranks, as grey diamonds in the chart and a column in the table. *These, as "
        "they are now* stay where they are while you change the budget or a rank.",
        wrap=True,
        **linked("beside"),
    )
    if kind == UNIFORM:
        rank = max(1, round(now.uniform))
        try:
            return f"uniform, rank {rank}", uniform_plan(scores, rank).ranks
        except AdaRankError as error:
            state.show_error(error)
            return None
    if kind == REMEMBERED:
        again = st.button(
            "Keep the ranks as they are now",
            key="remember",
            icon=":material/bookmark:",
            help="The grey diamonds move to the present ranks.",
        )
        if again or "remembered" not in st.session_state:
            st.session_state.remembered = now.plan
        return _ranks_of_modules("kept ranks", st.session_state.remembered, scores)
    if kind == FILE:
        _upload_plan(scores)
        plan = st.session_state.get("beside_plan")
        return None if plan is None else _ranks_of_modules("your file", plan, scores)
    return None


def _upload_plan(scores: Scores) -> None:
    """Draw the uploader of a second plan; a good file replaces the one before."""
    upload = st.file_uploader(
        "ranks.json or adapter_config.json", type="json", key="beside_file", max_upload_size=5
    )
    if upload is None or st.session_state.get("beside_file_id") == upload.file_id:
        return
    path = save_upload(upload.name, upload.getvalue())
    if path is None:
        return
    try:
        with st.spinner("Reading the plan …"):
            plan = read_plan(path, [module.name for module in scores.modules])
    except AdaRankError as error:
        state.show_error(error, path)
        return
    st.session_state.beside_file_id = upload.file_id
    st.session_state.beside_plan = plan


def _ranks_of_modules(
    name: str, plan: RankPlan, scores: Scores
) -> tuple[str, dict[str, int]] | None:
    """Return the plan's ranks of these modules; say so where it was made for another model."""
    names = [module.name for module in scores.modules]
    if public_name(plan.model) != public_name(scores.model):  # an adapter has the public one
        st.warning(
            state.plain(
                f"The plan beside was made for {plan.model!r}, the scores are of {scores.model!r}."
            )
        )
    if not set(names) & set(plan.ranks):
        st.caption("None of its modules is among those that are shown.")
        return None
    return name, {module: plan.ranks.get(module, 0) for module in names}
