"""proxy.token_cache: a signature is checked once per token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.admission import VerifiedToken
from sidecar.core.reasons import Reason
from sidecar.core.replies import refusal
from sidecar.core.tokens import AccessToken
from sidecar.proxy.token_cache import Lookups, TokenCache


def verified(jti: str = "j", **claims: object) -> VerifiedToken:
    token = AccessToken(jti, "user", "client", ("b", "a", "b"), ("boss", "analyst"), 0, 100)
    return VerifiedToken(token._replace(**claims))  # type: ignore[arg-type]


@pytest.mark.parametrize("other", ["", "a.b", "a.b.c=", "a.b.C", " a.b.c", "a.b.c\n", "a.b.cc", "j"])
def test_only_the_same_token_hits(other: str) -> None:
    cache, entry = TokenCache(10, Lookups()), verified()
    cache.add("a.b.c", entry)
    assert cache.get("a.b.c") is entry
    assert cache.get(other) is None
    assert (cache.lookups.hits, cache.lookups.misses) == (1, 1)


def test_look_ups_are_counted_and_nothing_else_is() -> None:
    cache = TokenCache(10, Lookups())
    cache.add("t", verified())
    cache.set_aside("t", verified())
    assert (cache.lookups.hits, cache.lookups.misses, len(cache)) == (0, 0, 0)
    cache.get("t")
    cache.get("u")
    assert (cache.lookups.hits, cache.lookups.misses) == (1, 1)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_oldest_goes_first(size: int) -> None:
    cache = TokenCache(size, Lookups())
    for number in range(6):
        cache.add(str(number), verified())
        cache.get("0")  # being used saves no entry: there is no LRU
    assert [number for number in range(6) if cache.get(str(number))] == list(range(6))[6 - size :]
    assert repr(cache) == f"<TokenCache {size}/{size}>"


def test_a_token_that_is_set_aside_makes_room() -> None:
    cache = TokenCache(2, Lookups())
    for token in "ab":
        cache.add(token, verified(token))
    cache.set_aside("b", verified("b"))
    cache.add("c", verified("c"))
    assert len(cache) == 2
    assert [token for token in "abc" if token in cache] == ["a", "c"]
    assert [token for token in "abc" if cache.get(token)] == ["a", "b", "c"]


def test_useless_tokens_are_few_and_short_and_evict_no_good_one() -> None:
    cache, reply = TokenCache(1, Lookups()), refusal(Reason.BAD_SIGNATURE)
    cache.add("good", verified())
    cache.set_aside("x" * 2049, reply)
    assert cache.get("x" * 2049) is None
    for number in range(513):
        cache.set_aside(str(number), reply)
    assert [cache.get(each) for each in ("0", "1", "512")] == [None, reply, reply]
    assert "good" in cache
    off = TokenCache(0, Lookups())
    off.set_aside("t", reply)
    assert off.get("t") is None


def test_an_entry_is_kept_past_its_end_for_the_reader_to_discard() -> None:
    """Expiry is decided on each request, by whoever knows the time."""
    cache = TokenCache(1, Lookups())
    cache.add("t", verified(exp=0))
    found = cache.get("t")
    assert isinstance(found, VerifiedToken)
    assert found.exp == 0


@given(st.integers(0, 3), st.lists(st.tuples(st.sampled_from(["add", "set aside", "get"]), st.sampled_from("abcde"))))
def test_a_cache_is_never_too_large_and_never_wrong(size: int, steps: list[tuple[str, str]]) -> None:
    cache, last = TokenCache(size, Lookups()), {}
    for step, token in steps:
        if step == "add":
            last[token] = verified(token)
            cache.add(token, last[token])
            assert cache.get(token) is (last[token] if size else None)
        elif step == "set aside":
            last[token] = verified(token)
            cache.set_aside(token, last[token])
            assert cache.get(token) is (last[token] if size else None)
        else:
            assert cache.get(token) in (None, last.get(token))
        assert len(cache) <= size


def test_what_follows_from_a_token_is_worked_out_once() -> None:
    entry = verified(sub="user", roles=("boss", "analyst"))
    assert (entry.jti, entry.exp, entry.client_id, entry.scope) == ("j", 100, "client", frozenset("ab"))
    assert entry.token.sub == "user"
    assert sorted(entry.identity.split(b"\r\n")) == [
        b"",
        b"X-Auth-Client-Id: client",
        b"X-Auth-Roles: boss,analyst",
        b"X-Auth-Scope: b a b",
        b"X-Auth-Subject: user",
    ]
    assert repr(entry) == "<VerifiedToken j of client>"
