from hypothesis import given
from hypothesis import strategies as st

from pages.parts.learn import rooms
from pages.parts.learn.rooms import (
    HIDEABLE,
    Attendee,
    Room,
    Rooms,
    name_of,
    new_key,
    new_visitor,
)

EVERY = ["rank", "noise", "score", "texts", "budget", "fair", "reset", "unknown"]


def picks(options):
    """Some of several options, in their order."""
    return st.sets(st.sampled_from(options)).map(
        lambda chosen: tuple(each for each in options if each in chosen)
    )


@given(picks(EVERY).filter(bool), picks(list(HIDEABLE)), st.booleans())
def test_a_room_comes_back_from_its_link(steps, hidden, feedback):
    room = Room(name_of("key"), steps, hidden, feedback)
    assert Room.from_query(room.to_query(EVERY), EVERY) == room


@given(st.dictionaries(st.sampled_from(["room", "lesson", "hide", "feedback"]), st.text()))
def test_any_link_gives_a_room_with_steps(query):
    room = Room.from_query(query, EVERY)
    assert room.steps and set(room.steps) <= set(EVERY) and set(room.hidden) <= set(HIDEABLE)
    assert room.name == "" or rooms.NAME.fullmatch(room.name)


def test_the_key_is_not_in_the_rooms_link():
    key = new_key()
    assert len(key) >= 22 and new_key() != key  # 128 bits
    query = Room(name_of(key), tuple(EVERY)).to_query(EVERY)
    assert query == {"room": name_of(key)} and len(query["room"]) == 16
    assert key not in str(query) and name_of(name_of(key)) != name_of(key)


def test_a_room_counts_everybody_once_and_keeps_the_newest():
    store, (one, other) = Rooms(), (new_visitor(), new_visitor())
    store.open("a")
    store.report("a", one, Attendee("rank"))
    store.report("a", other, Attendee("noise", {"rank": 0}))
    store.report("a", one, Attendee("score", {"rank": 1}))
    assert store.attendees("a") == [
        Attendee("score", {"rank": 1}),
        Attendee("noise", {"rank": 0}),
    ]
    store.open("a")  # by a teacher who reloads the page
    assert len(store.attendees("a")) == 2
    store.close("a")
    assert not store.knows("a") and store.attendees("a") == []


def test_what_nobody_opened_and_who_has_no_visitors_name_is_passed_over():
    store = Rooms()
    store.report("a", new_visitor(), Attendee("rank"))
    assert not store.knows("a")
    store.open("a")
    store.report("a", "<b>Ada</b>", Attendee("rank"))
    assert store.attendees("a") == []


def test_a_store_is_bounded(monkeypatch):
    monkeypatch.setattr(rooms, "MOST_ROOMS", 2)
    monkeypatch.setattr(rooms, "MOST_ATTENDEES", 3)
    store = Rooms()
    for name in "abc":
        store.open(name)
    assert [store.knows(name) for name in "abc"] == [False, True, True]
    visitors = [new_visitor() for _ in range(5)]
    for visitor in [*visitors, visitors[0]]:
        store.report("c", visitor, Attendee("rank"))
    assert len(store.attendees("c")) == 3
