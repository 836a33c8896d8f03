"""oauth.login.sessions: who is at the browser."""

from typing import Any

import pytest

from sidecar.core.oauth.users import User
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.login.sessions import Sessions, csrf_token, is_csrf_token
from sidecar.stores.memory import MemoryStore

COOKIE, OTHER = "a" * 43, "b" * 43
ANNA = User("anna", "hash")


class Clock:
    """A clock that stands still until it is moved."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def sessions(clock: Clock, *, secure: bool = True, ended: Any = lambda *_: False) -> Sessions:
    values = iter([COOKIE, OTHER])
    store = MemoryStore(clock=clock, emit=lambda _: None)
    return Sessions(store, secure=secure, ttl=60, clock=clock, new_secret=lambda: next(values), ended=ended)


def sent(*cookies: str) -> EndpointRequest:
    return EndpointRequest("GET", "/", "", tuple(("Cookie", cookie) for cookie in cookies), b"", "peer")


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        ([f"__Host-sidecar={COOKIE}"], COOKIE),
        ([f"a=b; __Host-sidecar={COOKIE}; c"], COOKIE),
        (["a=b", f"__Host-sidecar={COOKIE}"], COOKIE),
        ([], None),
        ([f"sidecar={COOKIE}"], None),
        ([f"__host-sidecar={COOKIE}"], None),
        ([f"__Host-sidecar={COOKIE}; __Host-sidecar={COOKIE}"], None),
        ([f"__Host-sidecar={COOKIE}a"], None),
        (["__Host-sidecar="], None),
        ([f'__Host-sidecar="{COOKIE}"'], None),
    ],
)
def test_only_one_cookie_of_our_form_counts(cookies: list[str], expected: str | None) -> None:
    assert sessions(Clock()).cookie(sent(*cookies)) == expected


def test_without_tls_the_cookie_has_another_name() -> None:
    made = sessions(Clock(), secure=False)
    assert made.cookie(sent(f"sidecar={COOKIE}; __Host-sidecar={OTHER}")) == COOKIE
    assert made.set_cookie(COOKIE) == ("Set-Cookie", f"sidecar={COOKIE}; Path=/; HttpOnly; SameSite=Lax")


async def test_a_session_lasts_for_its_time() -> None:
    clock = Clock()
    made = sessions(clock)
    cookie = await made.open(ANNA, None)
    assert (await made.read(cookie), await made.read(OTHER), await made.read(None)) == (
        (*ANNA[:1], ANNA.password_version, clock.now),
        None,
        None,
    )
    clock.now += 60
    assert await made.read(cookie) is None


async def test_a_login_ends_the_session_before_it() -> None:
    made = sessions(Clock())
    first = await made.open(ANNA, None)
    second = await made.open(ANNA, first)
    assert (await made.read(first), first == second) == (None, False)
    assert await made.read(second)


async def test_what_was_revoked_of_a_user_ends_their_sessions() -> None:
    asked: list[tuple[str, float]] = []

    def ended(username: str, since: float) -> bool:
        asked.append((username, since))
        return True

    made = sessions(Clock(), ended=ended)
    assert await made.read(await made.open(ANNA, None)) is None
    assert asked == [("anna", Clock.now)]


async def test_another_password_ends_the_sessions_of_the_old_one() -> None:
    made = sessions(Clock())
    session = await made.read(await made.open(ANNA, None))
    assert session
    assert session.belongs_to(ANNA)
    for other in (ANNA._replace(password_hash="new"), User("otto", "hash"), None):
        assert not session.belongs_to(other)


def test_a_forms_token_is_of_one_cookie_and_one_page() -> None:
    token = csrf_token(COOKIE, "/a?b")
    assert is_csrf_token(token, COOKIE, "/a?b")
    for other in (
        (token, OTHER, "/a?b"),
        (token, COOKIE, "/a?c"),
        (token, None, "/a?b"),
        ("", COOKIE, "/a?b"),
        ("é\ud800", COOKIE, "/a?b"),
    ):
        assert not is_csrf_token(*other)
    assert COOKIE not in token
