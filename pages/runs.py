"""Runs: all that was trained on this machine, to be found, watched, compared, tagged or deleted."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import streamlit as st

from adarank_core.errors import AdaRankError
from adarank_core.limits import is_walled
from adarank_core.runs import jobs, store
from pages.parts.compare.outcome import ALIVE
from pages.parts.runs import run_details, run_table
from pages.parts.shared import link, state, visitor
from pages.parts.shared.clock import started, zone_name
from pages.parts.shared.link import linked
from pages.parts.shared.own_words import SETTINGS

SELECTED = "runs_selected"  # names of the selected runs
DRAWN = "runs_drawn"  # names in the order in which the browser has them
TABLE = "runs_table"
DELETED = "runs_deleted"  # what the last deletion moved away, to be undone
REFUSAL = "runs_said"  # why the last action was refused
#: Of runs of a kind, the page that shows them, and what their name is called in the link.
PAGES = {"compare": ("pages/compare.py", "run"), "lab": ("pages/lab.py", "study_run")}
EVERY = 2  # seconds between two looks at runs that are at work
MOST_DELETED = 50
MOST_PICKED = 20  # in a link
MOST_GROUPS = 20  # offered; a text finds the others
MOST_TAGS = 20  # of other runs that are offered
HIGHEST = 420  # pixels; a longer table scrolls by itself


# What buttons do, before the page is drawn again -------------------------------------------------


def apply_to_each(action: Callable[[Path], object], folders: Iterable[Path]) -> list:
    """Do something to every folder; return what came of it, and keep the last refusal."""
    done = []
    for folder in folders:
        try:
            done.append(action(folder))
        except (AdaRankError, OSError) as error:
            st.session_state[REFUSAL] = str(error)
    return done


def delete(folders: Sequence[Path]) -> None:
    """Move runs to the bin, and remember them there for Undo."""
    st.session_state[DELETED] = apply_to_each(store.delete, folders)


def restore(folders: Sequence[Path]) -> None:
    """Put deleted runs back to where they were."""
    apply_to_each(store.restore, folders)
    left = [folder for folder in st.session_state.get(DELETED, []) if folder not in folders]
    st.session_state[DELETED] = left


def delete_for_good() -> None:
    """Empty the bin."""
    st.session_state.pop(DELETED, None)
    apply_to_each(store.empty, [visitor.runs_home()])


def set_tags(folder: Path, key: str) -> None:
    """Write the tags that were just chosen."""
    apply_to_each(lambda run: store.set_tags(run, st.session_state[key]), [folder])


def add_tag(folder: Path, key: str) -> None:
    """Write the tag that was just typed beside the others, and empty its box."""
    if tag := st.session_state[key].strip():
        apply_to_each(lambda run: store.set_tags(run, [*store.tags(run), tag]), [folder])
    st.session_state[key] = ""


# The table ---------------------------------------------------------------------------------------


def row(run: jobs.Run) -> dict:
    """Return what the table says of a run."""
    stopping = run.state in ALIVE and (run.folder / "cancel").exists()
    return run_table.row(run, store.summary(run), store.tags(run.folder), stopping)


def draw_cancel_all(known: Sequence[jobs.Run]) -> None:
    """Draw the button that cancels whatever is at work or waits, with a question in between."""
    alive = [run.folder for run in known if run.state in ALIVE]
    if not alive:
        return
    one = len(alive) == 1
    with st.popover("Cancel all", icon=":material/stop:"):
        runs = "One run stops" if one else f"{len(alive)} runs stop"
        st.markdown(f"{runs} after the current step. What has finished is kept.")
        st.button(
            "Cancel it" if one else f"Cancel all {len(alive)}",
            key="runs_cancel_all",
            type="primary",
            on_click=apply_to_each,
            args=(jobs.cancel, alive),
        )


def draw_filters(rows: dict[str, dict]) -> Callable[[dict[str, dict]], list[str]]:
    """Draw the filters; return what names the rows that are shown, in their order."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Filter",
            key="runs_text",
            placeholder="task, model, arm, tag …",
            width=260,
            persist_state="session",
        )
        grouped = st.selectbox(
            "Group by",
            SETTINGS,
            None,
            placeholder="nothing",
            width=160,
            help="Runs of equal settings stand together, and one group can be chosen.",
            **linked("group"),
        )
        setting = grouped or "state"
        counts = run_table.groups(rows, setting)
        offered = list(counts)[:MOST_GROUPS]
        only = st.pills(
            setting.capitalize(),
            offered,
            format_func=lambda value: f"{state.plain(value)} {counts[value]}",
            label_visibility="collapsed",
            **linked("only", [None, *offered]),  # a link may ask for one that no run is in
        )

    def shown(rows: dict[str, dict]) -> list[str]:
        names = run_table.matching(rows, text)
        if only is not None:
            names = [name for name in names if run_table.value_of(rows[name], setting) == only]
        if grouped:
            places = {value: at for at, value in enumerate(run_table.groups(rows, grouped))}
            values = {name: run_table.value_of(rows[name], grouped) for name in names}
            names.sort(key=lambda name: places.get(values[name], len(places)))
        return names

    return shown


def draw_table(
    known: Sequence[jobs.Run], rows: dict[str, dict], shown: Callable, whole: list
) -> None:
    """Draw the table; keep the selection where rows came, went or changed.

    While something is at work this is drawn again and again by itself, and only what is alive is
    read anew. ``whole`` is empty then; else the page goes on to draw the rest.
    """
    alone = not whole
    whole.clear()
    if alone and {run.folder.name for run in known} != folder_names():
        st.rerun()
    for run in known if alone else ():
        if run.state in ALIVE:
            now = jobs.run_folder(run.folder)
            if now.state != run.state:
                st.rerun()  # the rest of the page has to hear of it, and polling may have to end
            rows[run.folder.name] = row(now)
    names = shown(rows)
    if TABLE in st.session_state:
        drawn = st.session_state.get(DRAWN, [])
        wanted = [drawn[at] for at in st.session_state[TABLE]["selection"]["rows"]]
    else:  # back from another page, or by a link
        wanted = st.session_state.get(SELECTED) or st.session_state.runs_picked.split(",")
    wanted = [name for name in wanted if name in names]
    if TABLE not in st.session_state or st.session_state.get(DRAWN) != names:
        at = [names.index(name) for name in wanted]
        st.session_state[TABLE] = {"selection": {"rows": at, "columns": [], "cells": []}}
    st.session_state[DRAWN] = names
    # Above the table's right end its own buttons lie, so nothing else does.
    of = "" if len(names) == len(known) else f"{len(names):,} of {len(known):,}. "
    st.caption(f"{of}Select one run, or two comparisons: by keyboard with arrows and Shift+Space.")
    column, number = st.column_config.TextColumn, st.column_config.NumberColumn
    first = [grouped] if (grouped := st.session_state.runs_group) else []
    st.dataframe(
        [rows[name] for name in names],
        key=TABLE,
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        width="stretch",
        height="content" if len(names) < HIGHEST / 35 else HIGHEST,
        placeholder="",
        column_order=list(dict.fromkeys([*first, *run_table.COLUMNS])),
        column_config={
            "when": column(help=f"When it was started, by your clock: {zone_name()}."),
            "verdict": column(
                width=162,
                help="On adarank, else on the first compared arm, against the reference; of a "
                "study, its answer.",
            ),
            "effect": column(
                help="How far that arm is above the other in the primary metric, and the interval "
                "for other seeds. Of a loss, below is better."
            ),
            "rank": number(format="%g", help="The average rank."),
            "steps": number(format="localized"),
            "batch": number(format="localized", help="Texts a step."),
            "rate": number(format="%g", help="The learning rate, or what a grid began with."),
            "state": column(help="In brackets, the place in the queue: 1 is next."),
            "arms": column(width=175, help="Of a study, its name."),
            "tags": column(width=105),
        },
        alt="All runs that fit the filters, the newest first",
    )
    changed = st.session_state.get(SELECTED) != wanted
    st.session_state[SELECTED] = wanted
    link.choose("picked", ",".join(wanted[:MOST_PICKED]))
    if alone and changed:
        st.rerun()  # what is drawn below the table depends on it


def folder_names() -> set[str]:
    """Return the names of the runs' folders as they are by now."""
    return {path.name for path in jobs.run_folders(visitor.runs_home())}


# What is selected --------------------------------------------------------------------------------


def draw_actions(runs: Sequence[jobs.Run]) -> None:
    """Draw what can be done to the selected runs."""
    folders = [run.folder for run in runs]
    alive = [run.folder for run in runs if run.state in ALIVE]
    only = runs[0] if len(runs) == 1 else None
    with st.container(horizontal=True):
        if (
            only
            and run_table.kind(only) in PAGES
            and st.button("Open", key="runs_open", type="primary", icon=":material/open_in_new:")
        ):
            page, name = PAGES[run_table.kind(only)]
            link.choose(name, only.folder.name)
            st.switch_page(page, query_params=link.query())
        if alive:
            st.button(
                "Cancel",
                key="runs_cancel",
                icon=":material/stop:",
                on_click=apply_to_each,
                args=(jobs.cancel, alive),
                disabled=all((folder / "cancel").exists() for folder in alive),
                help="Stops after the current step; what has finished is kept.",
            )
        if only:
            st.download_button(
                "Zip",
                lambda: zip_bytes(only.folder),
                f"{only.folder.name}.zip",
                "application/zip",
                key=f"runs_zip_{only.folder.name}",
                icon=":material/download:",
                on_click="ignore",
                help="Everything but checkpoints.",
            )
        st.button(
            "Delete" if only else f"Delete {len(runs)}",
            key="runs_delete",
            icon=":material/delete:",
            on_click=delete,
            args=(folders,),
            disabled=bool(alive),
            help="A run at work is cancelled first." if alive else "Can be undone.",
        )


def zip_bytes(folder: Path) -> bytes:
    """Return a run as a zip file."""
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / f"{folder.name}.zip"
        store.write_zip(folder, target)
        return target.read_bytes()


def draw_tags(run: jobs.Run, in_use: Iterable[str]) -> None:
    """Draw a run's tags, to be changed; the tags of all runs are offered."""
    given, new = f"runs_tags_{run.folder.name}", f"runs_new_tag_{run.folder.name}"
    own = list(store.tags(run.folder))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if offered := sorted({*own, *sorted(in_use)[:MOST_TAGS]}):
            st.session_state[given] = own
            st.pills(
                "Tags",
                offered,
                selection_mode="multi",
                format_func=state.plain,
                key=given,
                on_change=set_tags,
                args=(run.folder, given),
            )
        st.text_input(
            "New tag",
            key=new,
            max_chars=store.LONGEST_TAG,
            placeholder="Type it and press Enter",
            width=220,
            on_change=add_tag,
            args=(run.folder, new),
        )


def draw_selection(runs: Sequence[jobs.Run], known: Sequence[jobs.Run]) -> None:
    """Draw what is selected: one run, two comparisons beside each other, or several."""
    one, two = len(runs) == 1, len(runs) == 2
    heading = run_table.label(runs[0]) if one else f"{len(runs)} runs are selected"
    st.header(state.plain(heading), anchor=False)
    draw_actions(runs)
    if one:
        draw_tags(runs[0], {tag for run in known for tag in store.tags(run.folder)})
        run_details.draw_run(runs[0], EVERY)
    elif two and all(run_table.kind(run) == "compare" for run in runs):
        run_details.draw_pair(*runs[::-1])


# The page ----------------------------------------------------------------------------------------


def draw_undo() -> None:
    """Draw the way back from the last deletion, where its button was."""
    if gone := st.session_state.get(DELETED):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"Deleted {len(gone)} run{'s'[: len(gone) > 1]}.", width="content")
            st.button(
                "Undo", key="runs_undo", icon=":material/undo:", on_click=restore, args=(gone,)
            )


def draw_deleted() -> None:
    """Draw the deleted runs, each with a way back."""
    gone = store.deleted(visitor.runs_home())
    if not gone:
        return
    with st.expander(f"Deleted ({len(gone)})"):
        for folder in gone[:MOST_DELETED]:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(state.plain(run_table.label(jobs.run_folder(folder))), width="stretch")
                key = f"runs_restore_{folder.parent.name}_{folder.name}"
                st.button("Restore", key=key, on_click=restore, args=([folder],))
        if len(gone) > MOST_DELETED:
            st.caption(f"and {len(gone) - MOST_DELETED} that were deleted before these.")
        with st.popover("Delete for good", icon=":material/delete_forever:"):
            st.markdown("This cannot be undone. It frees the disk.")
            label = "Delete it" if len(gone) == 1 else f"Delete all {len(gone)}"
            st.button(label, key="runs_empty", type="primary", on_click=delete_for_good)


def draw() -> None:
    """Draw the whole page."""
    state.open_page()
    home = visitor.runs_home()
    known = sorted(jobs.runs(home), key=started, reverse=True)  # of one second, by name
    st.title(run_table.finding([run.state for run in known]), anchor=False)
    about = (
        f"All that {'you' if is_walled() else 'was'} trained or studied on this machine."
        if known
        else (
            "What you start on the pages **Compare** and **Lab**, or on the command line, is found "
            "again here."
        )
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(about, width="stretch")
        draw_cancel_all(known)
    if said := st.session_state.pop(REFUSAL, ""):
        st.error(state.plain(state.capitalised(said)))
    if known:
        rows = {run.folder.name: row(run) for run in known}
        shown = draw_filters(rows)
        busy = any(run.state in ALIVE for run in known)
        st.fragment(run_every=EVERY if busy else None)(draw_table)(known, rows, shown, [True])
    draw_undo()
    if known and (picked := set(st.session_state[SELECTED])):
        draw_selection([run for run in known if run.folder.name in picked], known)
    draw_deleted()
    state.page_link("compare", "Train several arms side by side")


try:
    draw()
except AdaRankError as error:  # such as a home that cannot be made
    state.show_error(error)
