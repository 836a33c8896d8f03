"""core.oauth.grants: what a client may be granted."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.clients import PUBLIC, Client
from sidecar.core.oauth.grants import CLIENT_CREDENTIALS, GRANT_TYPES, IMPLICIT, check_grant, narrow_scope
from sidecar.core.oauth.secrets import SecretHash
from sidecar.core.reasons import Reason, Refused

SUPPORTED = GRANT_TYPES - {IMPLICIT}  # which has nothing to do with the token endpoint


def client(scope: tuple[str, ...] = (), grants: frozenset[str] = GRANT_TYPES) -> Client:
    return Client("c", (SecretHash(bytes(16), bytes(32), None),), grants, scope)


def refused(ask: Callable[[], object]) -> Reason:
    with pytest.raises(Refused) as caught:
        ask()
    assert caught.value.client_id == "c"
    return caught.value.reason


@pytest.mark.parametrize("grant", sorted(SUPPORTED))
def test_a_grant_is_for_the_clients_that_name_it(grant: str) -> None:
    assert check_grant(grant, client(), SUPPORTED) == grant
    others = client(grants=frozenset(["implicit"]))
    assert refused(lambda: check_grant(grant, others, SUPPORTED)) is Reason.UNAUTHORIZED_GRANT


def test_a_public_client_gets_nothing_for_its_name_alone() -> None:
    """RFC 6749 section 4.4: client credentials are for confidential clients, whatever the configuration names."""
    public = client()._replace(secrets=(), token_endpoint_auth_method=PUBLIC)
    assert refused(lambda: check_grant(CLIENT_CREDENTIALS, public, SUPPORTED)) is Reason.UNAUTHORIZED_GRANT
    for grant in SUPPORTED - {CLIENT_CREDENTIALS}:
        assert check_grant(grant, public, SUPPORTED) == grant


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (None, Reason.INVALID_REQUEST),
        ("", Reason.UNSUPPORTED_GRANT),
        ("password", Reason.UNSUPPORTED_GRANT),
        ("implicit", Reason.UNSUPPORTED_GRANT),
        ("Client_Credentials", Reason.UNSUPPORTED_GRANT),
        ("client_credentials ", Reason.UNSUPPORTED_GRANT),
        ("client_credentials refresh_token", Reason.UNSUPPORTED_GRANT),
    ],
)
def test_no_client_gets_another_grant(grant: str | None, reason: Reason) -> None:
    assert refused(lambda: check_grant(grant, client(grants=GRANT_TYPES | {str(grant)}), SUPPORTED)) is reason


HAS = ("b", "a", "c:d")


@pytest.mark.parametrize(
    ("asked", "given_scope"),
    [
        (None, HAS),
        ("b a c:d", HAS),
        ("a b", ("a", "b")),
        ("a", ("a",)),
        ("a a b a", ("a", "b")),
        ("  a  b ", ("a", "b")),
    ],
)
def test_scopes_come_in_the_order_asked_each_once(asked: str | None, given_scope: tuple[str, ...]) -> None:
    assert narrow_scope(client(HAS), asked) == given_scope


@pytest.mark.parametrize(
    "asked",
    ["x", "a x", "A", "c", "c:", "", " ", "a,b", "a\tb", "a\nb", "a\xa0b", "a%20b", "*", "\ud800", "a " * 5000 + "x"],
)
def test_what_the_client_has_not_is_refused_as_a_whole(asked: str) -> None:
    assert refused(lambda: narrow_scope(client(HAS), asked)) is Reason.INVALID_SCOPE


@pytest.mark.parametrize("asked", ["a", "", " "])
def test_a_client_without_scopes_may_ask_for_none(asked: str) -> None:
    assert narrow_scope(client(), None) == ()
    assert refused(lambda: narrow_scope(client(), asked)) is Reason.INVALID_SCOPE


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdefg ")))
def test_a_scope_never_widens(has: list[str], asked: list[str]) -> None:
    try:
        scope = narrow_scope(client(tuple(has)), " ".join(asked))
    except Refused:
        assert not set(asked) - {" "} or set(asked) - {" "} - set(has)
        return
    assert set(scope) == set(asked) - {" "} <= set(has)
    assert len(set(scope)) == len(scope)
