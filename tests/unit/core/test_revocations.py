"""core.revocations: what is revoked, and how long that may be relied on."""

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.revocations import NotBefore, RevocationView, spot_of

ENTRIES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12)


def remembered(entries: list[tuple[str, int]]) -> dict[str, int]:
    """The longest that each was asked to be remembered."""
    return {jti: max(exp for other, exp in entries if other == jti) for jti, _ in entries}


@pytest.mark.parametrize(
    ("confirmed", "moment", "staleness", "usable"),
    [
        ([], 0, math.inf, False),
        ([], math.inf, math.inf, False),
        ([100], 100, 0, True),
        ([100], 105, 5, True),
        ([100], 105.001, 5.001, False),
        ([100], 99, 0, True),
        ([100, 90], 101, 1, True),
        ([90, 100], 105, 5, True),
        ([0], 0, 0, True),
        ([-100], -96, 4, True),
        ([math.inf], 1e12, 0, True),
        ([math.inf, 1], 1e12, 0, True),
    ],
)
def test_a_view_may_be_used_for_a_while_after_it_was_current(
    confirmed: list[float], moment: float, staleness: float, usable: bool
) -> None:
    view = RevocationView(5)
    for when in confirmed:
        view.confirm(when)
    assert view.staleness(moment) == pytest.approx(staleness)
    assert view.usable(moment) is usable


def test_with_no_staleness_allowed_a_view_is_good_for_its_own_moment() -> None:
    view = RevocationView(0)
    view.confirm(7)
    assert (view.usable(7), view.usable(7.001)) == (True, False)


def test_what_is_revoked_does_not_make_a_view_current() -> None:
    view = RevocationView(5)
    view.add([("a", 10)])
    assert not view.usable(0)
    assert "a" in view


@given(st.lists(st.integers(-9, 9)), st.integers(-9, 20))
def test_time_alone_makes_a_view_stale_and_a_confirmation_never_does(moments: list[int], moment: int) -> None:
    view = RevocationView(5)
    ages = [view.staleness(moment)]
    for when in moments:
        view.confirm(when)
        ages.append(view.staleness(moment))
    assert all(later <= earlier for earlier, later in pairwise(ages))
    assert view.usable(moment) is (bool(moments) and moment - max(moments) <= 5)


@given(ENTRIES)
def test_all_that_was_told_is_refused_in_whatever_order_and_twice(entries: list[tuple[str, int]]) -> None:
    view = RevocationView(5)
    view.add(iter(entries))
    view.add(reversed(entries))
    assert {jti for jti in "abcd" if jti in view} == {jti for jti, _ in entries}
    assert len(view) == len({jti for jti, _ in entries})


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)), st.integers(0, 9))
def test_what_has_ended_is_forgotten_and_nothing_else(entries: dict[str, int], now: int) -> None:
    """An entry that is to be remembered until now has ended."""
    view = RevocationView(5)
    view.add(entries.items())
    live = {jti: exp for jti, exp in entries.items() if exp > now}
    assert view.live(now) == live
    assert len(view) == len(entries), "looking forgets nothing"
    view.purge(now)
    assert {jti for jti in "abcd" if jti in view} == live.keys()


def test_purging_leaves_the_view_as_current_as_it_was() -> None:
    view = RevocationView(5)
    view.confirm(100)
    view.purge(1e12)
    assert view.staleness(103) == 3


@given(ENTRIES, st.integers(0, 9))
def test_out_of_order_a_view_can_only_refuse_more(entries: list[tuple[str, int]], now: int) -> None:
    view = RevocationView(5)
    for entry in entries:
        view.add([entry])
    view.purge(now)
    assert {jti for jti in "abc" if jti in view} == {jti for jti, exp in remembered(entries).items() if exp > now}


@pytest.mark.parametrize("jti", ["", "A", "a ", "a\0"])
def test_a_token_is_revoked_by_its_exact_id(jti: str) -> None:
    view = RevocationView(5)
    view.add([("a", 10)])
    assert jti not in view


def test_the_representation_counts_and_shows_no_id() -> None:
    view = RevocationView(5)
    view.add([("canary", 10), ("other", 10)])
    assert repr(view) == "<RevocationView 2 revoked, 0 not-before times>"


NOT_BEFORE = NotBefore("client", "a b", 100)


@pytest.mark.parametrize(
    "not_before",
    [NOT_BEFORE, NotBefore("subject", "", 0), NotBefore("all", "", 10**10), NotBefore("subject", " x\n1 ä", 5)],
)
def test_a_not_before_time_is_read_as_it_was_written(not_before: NotBefore) -> None:
    assert NotBefore.read(not_before.entry) == not_before
    assert not_before.entry.startswith(" "), "no token id does"


@pytest.mark.parametrize("entry", ["", " ", "jti", " client", " client x y", " user 1 y", " client -1 y", "client 1 y"])
def test_what_is_no_not_before_time_is_none(entry: str) -> None:
    assert NotBefore.read(entry) is None


@pytest.mark.parametrize(
    ("not_before", "refused"),
    [
        (NOT_BEFORE, {("a b", "x", 100), ("a b", "x", 99)}),
        (NotBefore("subject", "x", 100), {("a b", "x", 100), ("a b", "x", 99), ("c", "x", 100)}),
        (NotBefore("all", "", 99), {("a b", "x", 99), ("c", "y", 99)}),
    ],
)
def test_a_not_before_time_ends_what_was_issued_up_to_its_second(
    not_before: NotBefore, refused: set[tuple[str, str, int]]
) -> None:
    view = RevocationView(5)
    issued = [
        ("a b", "x", 99),
        ("a b", "x", 100),
        ("a b", "x", 101),
        ("c", "x", 100),
        ("c", "y", 99),
        ("x", "a b", 100),
    ]
    assert not any(view.issued_too_early(*each) for each in issued)
    assert not view.not_before
    view.add([(not_before.entry, 1000)])
    assert {each for each in issued if view.issued_too_early(*each)} == refused
    assert view.not_before
    assert len(view) == 0


def test_the_latest_not_before_time_counts_whatever_the_order() -> None:
    view = RevocationView(5)
    view.add([(NOT_BEFORE.entry, 1000), (NOT_BEFORE._replace(before=50).entry, 2000)])
    assert view.issued_too_early("a b", "x", 100)
    assert view.live(500) == {NOT_BEFORE.entry: 1000, NOT_BEFORE._replace(before=50).entry: 2000}
    view.purge(1000)
    assert view.live(0).keys() == {NOT_BEFORE._replace(before=50).entry}
    assert not view.issued_too_early("a b", "x", 100)
    assert view.issued_too_early("a b", "x", 50)
    view.purge(2000)
    assert not view.not_before


def test_what_is_issued_after_a_not_before_time_in_its_second_is_issued_in_the_next() -> None:
    view = RevocationView(5)
    assert view.issue_time("a b", "x", 100.7) == 100.7
    view.add([(NOT_BEFORE.entry, 1000)])
    assert view.issue_time("a b", "x", 100.7) == 101
    assert view.issue_time("c", "x", 100.7) == 100.7
    assert view.issue_time("a b", "x", 101.2) == 101.2
    assert view.issue_time("a b", "x", 90.0) == 90, "a clock that is behind must not make tokens of the future"


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9)), st.integers(0, 9), st.integers(1, 4)
)
def test_purging_in_slices_forgets_the_same(entries: dict[str, int], now: int, at_most: int) -> None:
    whole, sliced = RevocationView(5), RevocationView(5)
    for view in (whole, sliced):
        view.add(entries.items())
        view.add((jti, until + 1) for jti, until in entries.items() if until % 2)
    assert whole.purge(now)
    sizes = [len(sliced)]
    while not sliced.purge(now, at_most):
        sizes.append(len(sliced))
    assert sliced.live(0) == whole.live(0)
    assert all(before - after <= at_most for before, after in pairwise([*sizes, len(sliced)]))


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9)), st.integers(0, 9), st.integers(1, 4)
)
def test_slices_are_all_that_lives(entries: dict[str, int], now: int, size: int) -> None:
    view = RevocationView(5)
    view.add([*entries.items(), (NOT_BEFORE.entry, 5)])
    slices = list(view.slices(now, size))
    assert all(0 < len(each) <= size for each in slices)
    assert dict(entry for each in slices for entry in each) == view.live(now)


def test_entries_may_come_and_go_between_two_slices() -> None:
    view = RevocationView(5)
    view.add((f"t{number}", 100 + number % 7) for number in range(70))
    slices = view.slices(0, 10)
    found = dict(next(slices))
    view.add((f"u{number}", 100 + number % 9) for number in range(90))
    view.purge(103)
    for each in slices:
        found.update(each)
    assert {f"t{number}" for number in range(70) if 100 + number % 7 > 103} <= found.keys()


def test_slices_end_although_as_many_entries_are_added_meanwhile() -> None:
    """Whoever gives back what the store has lost would never be done while others revoke."""
    view = RevocationView(5)
    view.add((f"t{number}", 100) for number in range(20))
    found: list[str] = []
    for number, each in enumerate(view.slices(0, 5)):
        found += [jti for jti, _ in each]
        view.add((f"u{number}.{more}", 100) for more in range(5))
        assert number < 10
    assert set(found) == {f"t{number}" for number in range(20)}


def test_the_end_of_a_family_is_kept_like_a_token_id() -> None:
    view = RevocationView(5)
    view.add([(" family 0 k", 10)])
    assert " family 0 k" in view
    assert not view.not_before
    assert view.purge(10)
    assert " family 0 k" not in view


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "purge"]), st.sampled_from([*"abcd", NOT_BEFORE.entry]), st.integers(0, 9))
    )
)
def test_while_the_revision_of_an_id_is_the_same_it_was_not_revoked(steps: list[tuple[str, str, int]]) -> None:
    view = RevocationView(5)
    absent = {each: view.revisions[spot_of(each)] for each in "abcd"}
    for what, entry, number in steps:
        if what == "add":
            view.add([(entry, number)])
        else:
            view.purge(number)
        assert not any(each in view for each, revision in absent.items() if view.revisions[spot_of(each)] is revision)
        absent = {each: view.revisions[spot_of(each)] for each in "abcd" if each not in view}


def test_a_revocation_changes_one_revision_of_many() -> None:
    """In a storm, most tokens need no other lookup."""
    view = RevocationView(5)
    before = list(view.revisions)
    view.add([("a", 10), (NOT_BEFORE.entry, 20)])
    changed = [spot for spot, revision in enumerate(view.revisions) if revision is not before[spot]]
    assert changed == [spot_of("a")]
    assert len(before) > 1000
    before = list(view.revisions)
    view.purge(30)
    assert view.revisions == before


def test_two_views_have_no_revision_in_common() -> None:
    one, other = RevocationView(5), RevocationView(5)
    assert set(map(id, one.revisions)).isdisjoint(map(id, other.revisions))


def test_the_revision_changes_although_a_later_entry_cannot_be_added() -> None:
    view = RevocationView(5)
    before = view.revisions[spot_of("a")]
    with pytest.raises((OverflowError, struct.error)):
        view.add([("a", 10), ("b", 2**63)])
    assert "a" in view
    assert view.revisions[spot_of("a")] is not before
