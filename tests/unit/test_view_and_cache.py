"""The local view of revocations, the cache of verified tokens, and the list of reasons."""

import math
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.reasons import Plane, Reason
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken
from sidecar.proxy.token_cache import TokenCache, Verified


def test_a_view_that_was_never_confirmed_is_not_used() -> None:
    view = RevocationView(5)
    assert not view.usable(0)
    assert view.staleness(0) == math.inf


def test_a_view_is_used_for_max_staleness_after_it_was_current() -> None:
    view = RevocationView(5)
    view.confirm(100)
    assert (view.usable(105), view.usable(105.001)) == (True, False)
    assert (view.staleness(103), view.staleness(99)) == (3, 0)


def test_a_confirmation_never_goes_back() -> None:
    view = RevocationView(5)
    view.confirm(100)
    view.confirm(90)
    assert view.staleness(101) == 1


def test_the_store_itself_is_always_current() -> None:
    view = RevocationView(5)
    view.confirm(math.inf)
    assert view.usable(1e12)
    assert view.staleness(1e12) == 0


def test_what_has_ended_is_forgotten_and_nothing_else() -> None:
    view = RevocationView(5)
    view.add([("old", 10), ("new", 11)])
    assert view.live(10) == {"new": 11}
    assert "old" in view
    view.purge(10)
    assert ("old" in view, "new" in view, len(view)) == (False, True, 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12))
def test_whatever_order_feeds_it_a_view_refuses_all_it_was_told(entries: list[tuple[str, int]]) -> None:
    view = RevocationView(5)
    for entry in entries:
        view.add([entry])
    assert {jti for jti, _ in entries} == {jti for jti in "abc" if jti in view}


def verified(name: str) -> Verified:
    return Verified(AccessToken(name, "s", "c", ("a", "b"), ("r",), 0, 100))


def test_a_hit_is_for_exactly_this_token() -> None:
    cache = TokenCache(10)
    entry = verified("j")
    cache.add("token", entry)
    assert cache.get("token") is entry
    assert (cache.get("token="), cache.get("Token"), cache.get("")) == (None, None, None)
    assert (cache.hits, cache.misses) == (1, 3)


def test_the_oldest_goes_first_and_there_are_never_more_than_the_size() -> None:
    cache = TokenCache(3)
    for number in range(5):
        cache.add(str(number), verified(str(number)))
    assert len(cache) == 3
    assert [cache.get(str(number)) is not None for number in range(5)] == [False, False, True, True, True]
    assert repr(cache) == "<TokenCache 3/3>"


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = TokenCache(0)
    cache.add("t", verified("j"))
    assert (len(cache), cache.get("t")) == (0, None)


def test_a_token_can_be_forgotten_twice() -> None:
    cache = TokenCache(3)
    cache.add("t", verified("j"))
    cache.discard("t")
    cache.discard("t")
    assert len(cache) == 0


def test_an_entry_holds_what_follows_from_the_token_alone() -> None:
    entry = verified("j")
    assert entry.scope == {"a", "b"}
    assert entry.identity == (b"X-Auth-Client-Id: c\r\nX-Auth-Subject: s\r\nX-Auth-Scope: a b\r\nX-Auth-Roles: r\r\n")
    assert repr(entry) == "<Verified j of c>"


CONTRACT = {
    Plane.PROTECTED: (
        "missing_token malformed_token bad_signature unknown_key expired not_yet_valid wrong_issuer wrong_audience"
        " wrong_type revoked multiple_tokens insufficient_scope denied_by_route store_unavailable"
    ),
    Plane.TOKEN: (
        "unknown_client bad_client_secret client_disabled invalid_request unsupported_grant unauthorized_grant"
        " invalid_scope refresh_expired refresh_reused code_replayed throttled store_unavailable"
    ),
}


def test_the_words_that_users_rely_on_are_there() -> None:
    for plane, words in CONTRACT.items():
        assert set(words.split()) <= {reason.word for reason in Reason if reason.plane is plane}


def test_a_reason_is_one_row() -> None:
    rows = [(reason.plane, reason.word) for reason in Reason]
    assert len(set(rows)) == len(rows) == len(Reason.__members__), "an alias would hide a row"
    for reason in Reason:
        assert re.fullmatch(r"[a-z_]+", reason.word)
        assert reason.sentence.endswith(".")
        assert '"' not in reason.sentence, "it stands in a quoted string of WWW-Authenticate"
        assert 400 <= reason.status < 600


def test_401_is_only_for_the_callers_credential() -> None:
    for reason in Reason:
        if reason.word == "store_unavailable":
            assert reason.status == 503
        assert (reason.status == 401) == (reason.error in ("invalid_token", "invalid_client"))


def test_the_readme_explains_every_reason() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    missing = {reason.word for reason in Reason if f"`{reason.word}`" not in readme}
    assert not missing
