"""Who may see the console, and who may not."""

from typing import Any

import pytest

from sidecar.ops.console.access import SESSION, Gate, Verdict, Visit, is_loopback, own_form
from tests.support.console import Clock

TOKEN = "0123456789abcdef" * 2
LOCAL = Visit(host="127.0.0.1:9464", peer="127.0.0.1")
ELSEWHERE = Visit(host="10.0.0.1:9464", peer="10.0.0.9")


class Door:
    """A gate with a token that a test may change."""

    def __init__(self, token: str | None = TOKEN, *, beyond: bool = True) -> None:
        self.token = token
        self.clock = Clock()
        self._secrets = 0
        self.gate = Gate(lambda: self.token, beyond=beyond, monotonic=self.clock, new_secret=self._new)

    def _new(self) -> str:
        self._secrets += 1
        return f"secret{self._secrets}"

    def enter(self, visit: Visit = ELSEWHERE) -> Visit:
        verdict, secret = self.gate.log_in(visit, TOKEN)
        assert verdict is Verdict.WELCOME
        return visit._replace(session=secret)


# Without a token.


@pytest.mark.parametrize(
    ("beyond", "visit", "verdict"),
    [
        (False, LOCAL, Verdict.WELCOME),
        (False, LOCAL._replace(host="localhost:9464"), Verdict.WELCOME),
        (False, LOCAL._replace(host="evil.example:9464"), Verdict.OTHER_NAME),
        (False, LOCAL._replace(host=""), Verdict.OTHER_NAME),
        (False, LOCAL._replace(proxied=True), Verdict.PROXIED),
        (False, LOCAL._replace(site="cross-site"), Verdict.FOREIGN),
        (False, LOCAL._replace(site="same-site"), Verdict.FOREIGN),
        (False, LOCAL._replace(site="cross-site", link=True), Verdict.WELCOME),
        (False, LOCAL._replace(site="same-origin"), Verdict.WELCOME),
        (False, LOCAL._replace(site="none"), Verdict.WELCOME),
        (True, LOCAL, Verdict.TOKENLESS),
        (True, ELSEWHERE, Verdict.TOKENLESS),
        (True, ELSEWHERE._replace(authorization="Bearer "), Verdict.TOKENLESS),
        (True, ELSEWHERE._replace(authorization="Bearer None"), Verdict.TOKENLESS),
    ],
)
def test_without_a_token_only_loopback_shows_it(beyond: bool, visit: Visit, verdict: Verdict) -> None:
    door = Door(None, beyond=beyond)
    assert door.gate.admit(visit) is verdict
    assert not door.gate.asks


@pytest.mark.parametrize("given", ["", "None", TOKEN])
def test_without_a_token_there_is_no_login(given: str) -> None:
    assert Door(None).gate.log_in(ELSEWHERE, given) == (Verdict.TOKENLESS, "")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("LOCALHOST:80", True), ("localhost.:80", True), ("a.localhost:1", True), ("127.0.0.1", True),
        ("127.9.9.9:9464", True), ("[::1]:9464", True), ("[::ffff:127.0.0.1]", True),
        ("", False), ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False), ("[::]", False), ("0.0.0.0", False), ("127.0.0.1:80@evil", False), ("::1", False),
        ("localhost,evil.example", False), ("evil@localhost", False), ("0x7f000001", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_a_host_is_loopback_or_not(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


# With a token.


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("visit", [LOCAL, ELSEWHERE, LOCAL._replace(host="evil.example")])
def test_with_a_token_everybody_is_asked(beyond: bool, visit: Visit) -> None:
    door = Door(beyond=beyond)
    assert door.gate.asks
    assert door.gate.admit(visit) is Verdict.ASK
    assert door.gate.admit(visit._replace(session="")) is Verdict.ASK
    assert door.gate.admit(visit._replace(session=TOKEN)) is Verdict.ASK


@pytest.mark.parametrize(
    ("authorization", "verdict"),
    [
        (f"Bearer {TOKEN}", Verdict.WELCOME),
        (f"bearer  {TOKEN} ", Verdict.WELCOME),
        (f"Bearer {TOKEN}x", Verdict.WRONG),
        (f"Bearer {TOKEN[:-1]}", Verdict.WRONG),
        ("Bearer", Verdict.WRONG),
        ("Bearer \udcff", Verdict.WRONG),
        (f"Basic {TOKEN}", Verdict.ASK),
        (TOKEN, Verdict.ASK),
    ],
)
def test_a_script_sends_the_token(authorization: str, verdict: Verdict) -> None:
    assert Door().gate.admit(ELSEWHERE._replace(authorization=authorization)) is verdict


def test_a_session_lasts_for_its_time() -> None:
    door = Door()
    visit = door.enter()
    door.clock.now = SESSION - 1
    assert door.gate.admit(visit) is Verdict.WELCOME
    door.clock.now = SESSION
    assert door.gate.admit(visit) is Verdict.ASK


def test_a_session_ends_at_logout_and_with_the_token() -> None:
    door = Door()
    first, second = door.enter(), door.enter()
    assert door.gate.log_out(first)
    assert door.gate.admit(first) is Verdict.ASK
    assert door.gate.admit(second) is Verdict.WELCOME
    door.token = "another-token-of-more-than-32-characters"
    assert door.gate.admit(second) is Verdict.ASK
    door.token = TOKEN
    assert door.gate.admit(second) is Verdict.WELCOME


def test_a_session_without_a_token_to_begin_with_is_none() -> None:
    door = Door()
    visit = door.enter()
    door.token = None
    assert door.gate.admit(visit) is Verdict.TOKENLESS


def test_only_so_many_sessions_are_kept() -> None:
    door = Door()
    visits = [door.enter() for _ in range(70)]
    assert [door.gate.admit(visit) for visit in (visits[0], visits[-1])] == [Verdict.ASK, Verdict.WELCOME]
    assert repr(door.gate) == "<Gate 64 sessions>"


# Guessing.


def guesses(door: Door, visit: Visit, times: int) -> list[Verdict]:
    return [door.gate.admit(visit._replace(authorization=f"Bearer guess{number}")) for number in range(times)]


def test_guessing_is_throttled_whatever_the_token() -> None:
    door = Door()
    session = door.enter()
    right = ELSEWHERE._replace(authorization=f"Bearer {TOKEN}")
    assert guesses(door, ELSEWHERE, 12) == [Verdict.WRONG] * 10 + [Verdict.THROTTLED] * 2
    assert door.gate.admit(right) is Verdict.THROTTLED
    assert door.gate.log_in(ELSEWHERE, TOKEN) == (Verdict.THROTTLED, "")
    assert door.gate.admit(session) is Verdict.WELCOME
    assert door.gate.admit(right._replace(peer="10.0.0.8")) is Verdict.WELCOME
    door.clock.now += 6.1
    assert door.gate.admit(right) is Verdict.WELCOME


def test_a_right_token_costs_nothing() -> None:
    door = Door()
    right = ELSEWHERE._replace(authorization=f"Bearer {TOKEN}")
    assert {door.gate.admit(right) for _ in range(100)} == {Verdict.WELCOME}


def test_guesses_from_one_network_count_together() -> None:
    door = Door()
    many = [Visit(host="h", peer=f"2001:db8::{number:x}", authorization="Bearer x") for number in range(1, 12)]
    assert door.gate.admit(many[0]._replace(peer="::ffff:10.0.0.9")) is Verdict.WRONG
    assert [door.gate.admit(visit) for visit in many][-1] is Verdict.THROTTLED
    assert door.gate.admit(many[0]._replace(peer="2001:db8:1::1")) is Verdict.WRONG
    assert door.gate.admit(many[0]._replace(peer="")) is Verdict.WRONG


def test_guesses_from_many_addresses_take_no_memory_for_ever() -> None:
    door = Door()
    for number in range(2000):
        guesses(door, Visit(host="h", peer=f"10.1.{number // 250}.{number % 250}"), 1)
    assert len(door.gate._full_at) == 1000
    door.clock.now += 3600
    guesses(door, ELSEWHERE, 1)
    assert len(door.gate._full_at) == 1


def test_guesses_from_many_addresses_let_nobody_guess_on() -> None:
    door, wrong = Door(), ELSEWHERE._replace(authorization="Bearer x")
    guesses(door, wrong, 11)
    for number in range(2000):
        guesses(door, Visit(host="h", peer=f"10.1.{number // 250}.{number % 250}"), 1)
    assert door.gate.admit(wrong) is Verdict.THROTTLED
    late = wrong._replace(peer="192.0.2.9")
    assert [door.gate.admit(late) for _ in range(11)] == [Verdict.WRONG] * 10 + [Verdict.THROTTLED]


# Forms.


@pytest.mark.parametrize(
    ("fields", "own"),
    [
        ({}, True),
        ({"origin": "http://h:1"}, True),
        ({"origin": "http://h:1", "site": "same-origin"}, True),
        ({"origin": "https://console.example", "forwarded_host": "console.example"}, True),
        ({"origin": "http://h:2"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://h:1", "site": "cross-site"}, False),
        ({"origin": "http://h:1", "site": "same-site"}, False),
        ({"site": "cross-site"}, False),
        ({"site": "none"}, False),
        ({"origin": "http://evil.example", "site": "same-origin"}, False),
    ],
)
def test_a_form_is_taken_only_from_a_page_of_the_console(fields: dict[str, Any], own: bool) -> None:
    visit = Visit(host="h:1", peer="10.0.0.9", **fields)
    assert own_form(visit) is own
    door = Door()
    verdict, secret = door.gate.log_in(visit, TOKEN)
    assert (verdict is Verdict.WELCOME, bool(secret)) == (own, own)
    assert door.gate.log_out(visit) is own


def test_another_sites_page_cannot_have_the_operator_throttled() -> None:
    door = Door()
    for _ in range(50):
        assert door.gate.log_in(ELSEWHERE._replace(origin="http://evil.example"), "x") == (Verdict.FOREIGN, "")
    door.enter()
