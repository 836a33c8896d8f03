"""proxy.handler: the phases of a request, without a network. Over sockets: tests/e2e/test_admission_everywhere.py."""

import pytest

from sidecar.core.events import Decision
from sidecar.core.http.plain_heads import PlainHead
from sidecar.core.policy import Access, Route
from sidecar.core.reasons import Reason
from tests.support.decided import Connection, Noted, World, rules, token

ROUTES = (
    Route("/open/**", access=Access.PUBLIC),
    Route("/closed/**", access=Access.DENY),
    Route("/wide/**", scope=frozenset({"a", "b"})),
    Route("/read", frozenset({"GET"}), Access.PUBLIC),
)


def ask(path: str = "/x", bearer: str | None = None, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    fields = [
        f"{method} {path} HTTP/1.1",
        "Host: front",
        *([f"Authorization: Bearer {bearer}"] if bearer else []),
        *lines,
    ]
    return "\r\n".join([*fields, "", ""]).encode() + body


@pytest.fixture
async def world() -> World:
    return World(rules(*ROUTES))


async def test_a_good_token_goes_on_with_its_identity_and_without_itself(world: World) -> None:
    noted = world.handle(ask("/x", token()))
    assert (noted.decision, noted.client_id, noted.reply) == (Decision.ADMITTED, "app", None)
    assert noted.sent is not None
    lines = noted.sent.split(b"\r\n")
    assert lines[0] == b"GET /x HTTP/1.1"
    assert {b"Host: front", b"X-Auth-Client-Id: app", b"X-Auth-Subject: anna", b"X-Forwarded-For: 10.0.0.1"} <= set(
        lines
    )
    assert b"Bearer" not in noted.sent
    assert noted.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ask(), Reason.MISSING_TOKEN),
        (ask("/x", "nonsense"), Reason.MALFORMED_TOKEN),
        (ask("/closed/x"), Reason.DENIED_BY_ROUTE),
        (ask("/open/..%2fclosed/x"), Reason.AMBIGUOUS_PATH),
        (ask("/read", None, "X-HTTP-Method-Override: DELETE"), Reason.AMBIGUOUS_METHOD),
        (ask("/x", None, "Transfer_Encoding: chunked"), Reason.MALFORMED_REQUEST),
        (ask("/x?access_token=b", "a"), Reason.MULTIPLE_TOKENS),
    ],
)
async def test_what_is_refused(world: World, data: bytes, reason: Reason) -> None:
    noted = world.handle(data)
    assert (noted.reason, noted.sent) == (reason, None)


@pytest.mark.parametrize("way", ["parsed", "by its shape", "again"])
@pytest.mark.parametrize(
    ("path", "wait", "revoked", "reason"),
    [
        ("/x", 600, False, Reason.EXPIRED),
        ("/x", 0, True, Reason.REVOKED),
        ("/wide/x", 0, False, Reason.INSUFFICIENT_SCOPE),
    ],
)
async def test_the_rule_is_asked_each_time(
    world: World, way: str, path: str, wait: int, revoked: bool, reason: Reason
) -> None:
    connection, data, plain = Connection(), ask("/x", token()), way != "parsed"
    if plain:
        for _ in range(16):
            parsed = world.handle(data)
    if way == "again":
        first = world.handle(data, connection, plain=True)
        assert parsed.sent
        assert parsed.sent == first.sent == world.handle(data, connection, plain=True).sent
    section = connection.section
    world.now += wait
    if revoked:
        world.view.add([("j", int(world.now) + 100)])
    noted = world.handle(ask(path, token()), connection, plain=plain)
    assert way != "again" or (section is connection.section is not None)
    assert (noted.reason, noted.sent, noted.client_id) == (reason, None, "app")


async def test_other_rules_make_what_was_read_worthless(world: World) -> None:
    connection, data = Connection(), ask("/x", token())
    for _ in range(16):
        world.handle(data)
    assert world.handle(data, connection, plain=True).sent
    world.handler.use(rules(Route("/x", access=Access.DENY)))
    noted = Noted(data, connection, world.handler.heads)
    assert not isinstance(noted.message, PlainHead)
    world.handler.handle(noted)  # type: ignore[arg-type]
    assert (noted.reason, noted.client_id, noted.user) == (Reason.DENIED_BY_ROUTE, "app", "anna")


async def test_a_request_keeps_to_the_rules_that_it_began_with(world: World) -> None:
    body = f'{{"access_token": "{token()}", "n": 1}}'.encode()
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    noted = world.handle(ask("/x", None, *lines, method="POST", body=body))
    assert noted.task is not None
    before = noted.rules
    world.handler.use(rules(Route("/x", access=Access.DENY)))
    await noted.task
    assert (noted.decision, noted.rules is before, noted.body) == (Decision.ADMITTED, True, b'{ "n": 1}')


async def test_a_token_that_can_never_be_used_is_verified_once(world: World) -> None:
    lookups = world.handler._rules.cache.lookups
    first, again = world.handle(ask("/x", "nonsense")), world.handle(ask("/y", "nonsense"))
    assert first.reply is not None
    assert again.reply is not None
    assert again.reply[:4] == first.reply[:4]
    assert (lookups.hits, lookups.misses) == (1, 1)


async def test_an_expired_token_is_verified_once(world: World) -> None:
    data, lookups = ask("/x", token()), world.handler._rules.cache.lookups
    world.now += 600
    for _ in range(3):
        noted = world.handle(data)
        assert (noted.reason, noted.client_id) == (Reason.EXPIRED, "app")
    assert (lookups.hits, lookups.misses) == (2, 1)
    world.now -= 600
    assert world.handle(data).sent


async def test_a_public_route_takes_our_tokens_away_and_leaves_others(world: World) -> None:
    ours, foreign = world.handle(ask("/open/x", token())), world.handle(ask("/open/x", "theirs"))
    assert (ours.decision, foreign.decision) == (Decision.PUBLIC, Decision.PUBLIC)
    assert ours.sent
    assert foreign.sent
    assert b"Authorization" not in ours.sent
    assert b"Authorization: Bearer theirs" in foreign.sent
    assert b"X-Auth-" not in ours.sent + foreign.sent


async def test_a_defect_of_ours_admits_nothing(world: World) -> None:
    class Broken:
        def decide(self, *_: object) -> Route:
            raise ZeroDivisionError

    world.handler.use(rules(policy=Broken()))
    noted = world.handle(ask("/x", token()))
    assert (noted.reason, noted.sent, world.failures) == (Reason.INTERNAL, None, ["handler ZeroDivisionError()"])


async def test_what_flows_is_judged_by_the_rules_in_force(world: World) -> None:
    noted = world.handle(ask("/x", token()))
    assert world.handler.recheck(noted) is None  # type: ignore[arg-type]
    world.view._confirmed = -100.0
    assert world.handler.recheck(noted) is None  # type: ignore[arg-type]  # the store is away
    world.handler.use(rules(Route("/x", scope=frozenset({"b"}))))
    assert world.handler.recheck(noted) is Reason.INSUFFICIENT_SCOPE  # type: ignore[arg-type]
    world.handler.use(rules(Route("/x", access=Access.DENY)))
    assert world.handler.recheck(noted) is Reason.DENIED_BY_ROUTE  # type: ignore[arg-type]
    assert world.handler.recheck(world.handle(ask("/open/x"))) is None  # type: ignore[arg-type]


async def test_too_many_requests_are_turned_away_but_preflights_are_answered(world: World) -> None:
    busy = Noted(ask())
    world.handler.turn_away(busy)  # type: ignore[arg-type]
    assert busy.reason is Reason.OVERLOADED
    endpoint = Noted(ask("/oauth/token?a=b", None, method="POST"))
    world.handler.turn_away(endpoint)  # type: ignore[arg-type]
    assert (endpoint.reason, endpoint.endpoint) == (Reason.OVERLOADED, "token")
    lines = ("Origin: https://page.example", "Access-Control-Request-Method: POST")
    preflight = Noted(ask("/oauth/token", None, *lines, method="OPTIONS"))
    world.handler.turn_away(preflight)  # type: ignore[arg-type]
    assert preflight.reply is not None
    assert preflight.reply.status == 204
