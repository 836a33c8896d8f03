"""core.admission: the rule, every reason in its place."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.admission import AdmissionRules, VerifiedToken, objection
from sidecar.core.policy import Route
from sidecar.core.reasons import Reason
from sidecar.core.revocations import NotBefore, RevocationView
from sidecar.core.tokens import AccessToken

NOW, MOMENT = 1_800_000_000.0, 50.0
ROUTE = Route("/orders/**", scope=frozenset({"orders:read"}))
RULES = AdmissionRules(0.0, {"k"}, frozenset())


def token(**claims: Any) -> VerifiedToken:
    said = {"jti": "j", "sub": "anna", "client_id": "app", "scope": ("orders:read",), "roles": ("r",), "iat": int(NOW) - 10, "exp": int(NOW) + 60, "kid": "k"}  # fmt: skip
    return VerifiedToken(AccessToken(**{**said, **claims}))


def view(*entries: str, confirmed: float = MOMENT) -> RevocationView:
    made = RevocationView(5.0)
    made.add((entry, int(NOW) + 1000) for entry in entries)
    made.confirm(confirmed)
    return made


def judged(
    given: VerifiedToken | None = None, route: Route | None = ROUTE, rules: AdmissionRules = RULES, seen: RevocationView | None = None
) -> Reason | None:  # fmt: skip
    return objection(given or token(), route, rules, view() if seen is None else seen, NOW, MOMENT)


def test_a_good_token_meets_no_objection() -> None:
    assert judged() is None
    assert judged(route=None) is None


@pytest.mark.parametrize(
    ("rules", "route", "age", "expected"),
    [
        (0.0, None, 5.0, None),
        (0.0, None, 5.1, Reason.STORE_UNAVAILABLE),
        (60.0, None, 60.0, None),
        (60.0, None, 60.1, Reason.STORE_UNAVAILABLE),
        (60.0, 0.0, 5.1, Reason.STORE_UNAVAILABLE),
        (0.0, 60.0, 60.0, None),
        (60.0, 600.0, 600.0, None),
        (60.0, 600.0, math.inf, Reason.STORE_UNAVAILABLE),
        (math.inf, None, 1e9, None),
    ],
)
def test_how_old_the_revocations_may_be_is_the_operators_choice(
    rules: float, route: float | None, age: float, expected: Reason | None
) -> None:
    seen = view(confirmed=MOMENT - age)
    where = ROUTE._replace(outage=route)
    assert judged(route=where, rules=replace(RULES, outage=rules), seen=seen) is expected
    assert judged(token(exp=int(NOW)), route=where, rules=replace(RULES, outage=rules), seen=seen) is Reason.EXPIRED


CASES: dict[str, tuple[dict[str, Any], Reason | None]] = {
    "its last moment": ({"given": token(exp=int(NOW) + 1)}, None),
    "its end": ({"given": token(exp=int(NOW))}, Reason.EXPIRED),
    "its end with leeway": ({"given": token(exp=int(NOW) - 4), "rules": replace(RULES, leeway=5.0)}, None),
    "past the leeway": ({"given": token(exp=int(NOW) - 5), "rules": replace(RULES, leeway=5.0)}, Reason.EXPIRED),
    "a key that is gone": ({"given": token(kid="old")}, Reason.UNKNOWN_KEY),
    "no key at all": ({"rules": replace(RULES, kids=frozenset())}, Reason.UNKNOWN_KEY),
    "a disabled client": ({"rules": replace(RULES, disabled={"app"})}, Reason.PROTECTED_CLIENT_DISABLED),
    "another disabled client": ({"rules": replace(RULES, disabled={"other"})}, None),
    "revoked": ({"seen": view("j")}, Reason.REVOKED),
    "another revoked": ({"seen": view("i")}, None),
    "its client's tokens ended": ({"seen": view(NotBefore("client", "app", int(NOW) - 10).entry)}, Reason.REVOKED),
    "its user's tokens ended": ({"seen": view(NotBefore("subject", "anna", int(NOW) - 10).entry)}, Reason.REVOKED),
    "all tokens ended": ({"seen": view(NotBefore("all", "", int(NOW) - 10).entry)}, Reason.REVOKED),
    "issued after the not-before time": ({"seen": view(NotBefore("client", "app", int(NOW) - 11).entry)}, None),
    "too little scope": ({"given": token(scope=("orders:write",))}, Reason.INSUFFICIENT_SCOPE),
    "no scope": ({"given": token(scope=())}, Reason.INSUFFICIENT_SCOPE),
    "no scope is asked for": ({"given": token(scope=()), "route": Route("/**")}, None),
    "a stale view": ({"seen": view(confirmed=MOMENT - 5.1)}, Reason.STORE_UNAVAILABLE),
    "a view that is just good": ({"seen": view(confirmed=MOMENT - 5.0)}, None),
    "a view that was never loaded": ({"seen": view(confirmed=-math.inf)}, Reason.STORE_UNAVAILABLE),
}


@pytest.mark.parametrize("case", CASES)
def test_each_objection(case: str) -> None:
    given, reason = CASES[case]
    assert judged(**given) is reason


def test_what_is_wrong_with_the_token_comes_before_what_cannot_be_known() -> None:
    """A caller whose token has expired is told so while the store is away: a 503 would make it try again for nothing."""
    stale = view("j", confirmed=-math.inf)
    assert judged(token(exp=0), seen=stale) is Reason.EXPIRED
    assert judged(seen=stale) is Reason.REVOKED
    assert judged(token(jti="i", scope=()), seen=stale) is Reason.INSUFFICIENT_SCOPE
    assert judged(token(jti="i"), seen=stale) is Reason.STORE_UNAVAILABLE


@given(
    st.integers(-10, 10),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 5.0]),
)
def test_nothing_is_admitted_with_a_fault(
    left: int, known: bool, disabled: bool, revoked: bool, scoped: bool, fresh: bool, leeway: float
) -> None:
    rules = AdmissionRules(leeway, {"k"} if known else set(), {"app"} if disabled else set())
    scope = ("orders:read",) if scoped else ()
    seen = view(*(["j"] if revoked else []), confirmed=MOMENT if fresh else -math.inf)
    reason = judged(token(exp=int(NOW) + left, scope=scope), rules=rules, seen=seen)
    good = left + leeway > 0 and known and not disabled and not revoked and scoped and fresh
    assert (reason is None) is good


def test_what_follows_from_a_token_alone_is_worked_out_once() -> None:
    verified = token(scope=("a", "b", "a"))
    assert verified.scope == {"a", "b"}
    assert verified.identity == (
        b"X-Auth-Client-Id: app\r\nX-Auth-Subject: anna\r\nX-Auth-Scope: a b a\r\nX-Auth-Roles: r\r\n"
    )
    assert repr(verified) == "<VerifiedToken j of app>"


def test_a_token_that_was_looked_up_is_looked_up_again_after_a_revocation() -> None:
    given, seen = token(), view()
    assert [judged(given, seen=seen) for _ in range(2)] == [None, None]
    seen.add([("i", int(NOW) + 9)])
    assert [judged(given, seen=seen) for _ in range(2)] == [None, None]
    seen.add([("j", int(NOW) + 10)])
    assert [judged(given, seen=seen) for _ in range(2)] == [Reason.REVOKED, Reason.REVOKED]
    seen.purge(NOW + 9)
    assert judged(given, seen=seen) is Reason.REVOKED
    seen.purge(NOW + 10)
    assert judged(given, seen=seen) is None


def test_a_lookup_in_one_view_says_nothing_about_another() -> None:
    given = token()
    assert judged(given, seen=view()) is None
    assert judged(given, seen=view("j")) is Reason.REVOKED
    assert judged(given, seen=view()) is None
