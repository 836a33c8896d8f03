"""Two sidecars get the same bytes: one has learnt the shapes of the heads, the other one never learns any. What reaches the API
and what the client gets is the same, however the bytes come and however the client leaves.

Seeded, so that a failure comes again; `FUZZ_ROUNDS` and `FUZZ_SEED` change how many and which.
"""

import contextlib
import itertools
import os
import random
import re
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from tests.support.process import UNTHROTTLED, Sidecar, configuration
from tests.support.raw import read_all
from tests.support.upstream import Received, Upstream, reply, saying

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "600")) // 3
SEED = int(os.environ.get("FUZZ_SEED", "20261124"))

_UNLEARNING: Final = (
    "import runpy, sidecar.core.http.plain_heads as it; it.PlainHeads.learn = lambda *_: None;"
    "runpy.run_module('sidecar', run_name='__main__')"
)
NEVER_LEARNS: Final = (sys.executable, "-c", _UNLEARNING)
_ALONE: Final = 0.03  # seconds after which what follows comes in a read of its own
_DATE = re.compile(rb"Date: [^\r]*\r\n")
_LAST_WORD = re.compile(rb"HTTP/1\.1 400 [^\0]*malformed_request[^\0]*\Z")

H = b" HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n"
AUTH = b"Authorization: Bearer TOKEN\r\n"
_FORGED = b"X-Auth-Client-Id: admin\r\nX_Auth_Scope: all\r\nKeep-Alive: timeout=9\r\nX-Forwarded-For: 6.6.6.6\r\n"
_FORM = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
_IN_FORM, _IN_JSON = b"a=1&access_token=TOKEN", b'{"access_token": "TOKEN", "b": 1}'


def _form(body: bytes, token: int) -> bytes:
    return _FORM % (len(body) - len(b"TOKEN") + token, body)


def messages(token: bytes) -> list[bytes]:
    """What a client may send. The usual ones are often there, so that their heads are plain."""
    size = len(token)
    text = [
        *[b"GET /a" + H + AUTH + b"\r\n"] * 4,
        b"GET /a?b=c" + H + AUTH + b"X-Request-Id: 1\r\n\r\n",
        b"HEAD /h" + H + AUTH + b"\r\n",
        *[b"GET /forged" + H + _FORGED + AUTH + b"\r\n"] * 2,
        b"GET /none" + H + b"\r\n",
        b"OPTIONS /o" + H + AUTH + b"Content-Length: 2\r\n\r\nok",
        *[b"POST /p" + H + AUTH + b"Content-Length: 5\r\n\r\nhello"] * 4,
        b"POST /zero" + H + AUTH + b"Content-Length: 0\r\n\r\n",
        b"POST /big" + H + AUTH + b"Content-Length: 40000\r\n\r\n" + b"b" * 40000,
        b"POST /limit" + H + AUTH + b"Content-Length: 65536\r\n\r\n" + b"l" * 65536,
        b"POST /bigger" + H + AUTH + b"Content-Length: 65537\r\n\r\n" + b"m" * 65537,
        b"POST /odd" + H + AUTH + b"Content-Length: 05\r\n\r\nhello",
        b"POST /d" + H + AUTH + b"Content-Length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n\r\n",
        b"PUT /c" + H + AUTH + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /f" + H + _form(_IN_FORM, size),
        b"POST /j" + H + _form(_IN_JSON, size).replace(b"x-www-form-urlencoded", b"json"),
        b"POST /public/f" + H + _form(_IN_FORM, size),
        b"POST /public/g" + H + b"Content-Length: 5\r\n\r\nhello",
        b"GET /public/?access_token=TOKEN" + H + b"\r\n",
        b"GET /q?access_token=TOKEN&b" + H + b"\r\n",
        b"POST /bad" + H + b"Authorization: Bearer x.y.z\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /closed" + H + AUTH + b"Content-Length: 5\r\n\r\nhello",
        b"POST /oauth/token" + H + _form(b"grant_type=none&n=TOKEN", size),
        b"GET /old HTTP/1.0\r\nHost: h\r\n" + AUTH + b"Connection: keep-alive\r\n\r\n",
        b"DELETE /n" + H + AUTH + b"Connection: keep-alive, x-a\r\nX-A: 1\r\n\r\n",
        b"\r\n",
        b"GET /two" + H + AUTH + AUTH + b"\r\n",
    ]
    return [each.replace(b"TOKEN", token) for each in text]


def last_messages(token: bytes) -> list[bytes]:
    """What ends a connection. What the parser makes of more bytes, or of earlier ones, depends on whether they come in the
    same read, so these come last and in a read of their own."""
    text = [
        b"GET /close" + H + AUTH + b"Connection: close\r\n\r\n",
        b"GET /pc" + H + AUTH + b"Proxy-Connection: close\r\n\r\n",
        b"POST /pc" + H + AUTH + b"Proxy-Connection: close\r\nContent-Length: 2\r\n\r\nab",
        b"GET /\xff" + H + AUTH + b"\r\n",
        b"GET /ctl" + H + AUTH + b"X-A: a\x00b\r\n\r\n",
        b"POST /two" + H + AUTH + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /te" + H + AUTH + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /fold" + H + AUTH + b"X-A: b\r\n c\r\n\r\n",
        b"GET /old HTTP/1.0\r\nHost: h\r\n" + AUTH + b"\r\n",
    ]
    return [each.replace(b"TOKEN", token) for each in text]


class Sent(NamedTuple):
    """What a client sends, with a pause in seconds after each part; then it closes its side, or leaves."""

    parts: list[bytes]
    pauses: list[float]
    leaves: bool


def drawn(rng: random.Random, known: list[bytes], last: list[bytes]) -> Sent:
    """One to five messages, in reads of their own or cut anywhere, and perhaps a last one."""
    chosen = [rng.choice(known) for _ in range(rng.randint(1, 5))]
    match rng.randrange(4):
        case 0:
            parts = chosen
        case 1:  # each head by itself, and each body in one or two parts
            parts = []
            for message in chosen:
                head, end, body = message.partition(b"\r\n\r\n")
                cut = rng.randrange(len(body) + 1)
                parts += [head + end, body[:cut], body[cut:]]
        case _:
            whole = b"".join(chosen)
            cuts = sorted({0, len(whole), *(rng.randrange(len(whole)) for _ in range(rng.randint(0, 6)))})
            parts = [whole[start:end] for start, end in itertools.pairwise(cuts)]
    parts = [part for part in parts if part]
    if rng.random() < 0.3:
        pauses = [*_pauses(rng, len(parts) - 1), _ALONE, 0.0]
        return Sent([*parts, rng.choice(last)], pauses, leaves=False)
    if rng.random() < 0.15:
        parts[-1] = parts[-1][: rng.randrange(len(parts[-1]) + 1)]
    return Sent(parts, _pauses(rng, len(parts)), leaves=rng.random() < 0.1)


def _pauses(rng: random.Random, count: int) -> list[float]:
    return [rng.choice([0.0, 0.003, 0.003]) for _ in range(count)]


class Place:
    """A sidecar and its API."""

    def __init__(self, sidecar: Sidecar, upstream: Upstream) -> None:
        self.sidecar = sidecar
        self.upstream = upstream

    def deliver(self, sent: Sent) -> tuple[bytes, list[tuple[str, str, list[tuple[str, str]], bytes]]]:
        """What the client gets, and what the API does."""
        with socket.create_connection(self.sidecar.address, timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                for part, pause in zip(sent.parts, sent.pauses, strict=True):
                    connection.sendall(part)
                    time.sleep(pause)
                if not sent.leaves:
                    connection.shutdown(socket.SHUT_WR)
            answers = b"" if sent.leaves else _DATE.sub(b"", read_all(connection))
        if sent.leaves:
            time.sleep(0.05)
        return answers, [_told(each) for each in self.upstream.take()]


def _told(received: Received) -> tuple[str, str, list[tuple[str, str]], bytes]:
    return received.method, received.target, received.headers, received.body


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Place]]:
    sections: dict[str, Any] = {
        "throttling": UNTHROTTLED,
        "timeouts": {"request_header": "2s", "idle": "2s"},
        "routes": [{"path": "/public/**", "access": "public"}, {"path": "/closed", "access": "deny"}],
    }
    answer = saying(reply(200, b""))
    with contextlib.ExitStack() as stack:
        made = []
        for name, command in (("learns", (sys.executable, "-m", "sidecar")), ("never", NEVER_LEARNS)):
            upstream = stack.enter_context(Upstream(answer))
            folder = tmp_path_factory.mktemp(name)
            sidecar = stack.enter_context(Sidecar(folder, configuration(upstream.url, **sections), command))
            made.append(Place(sidecar.ready(), upstream))
        yield made[0], made[1]


def test_what_is_learnt_changes_nothing(places: tuple[Place, Place]) -> None:
    learns, never = places
    token = learns.sidecar.token().encode()
    known = messages(token)
    last = last_messages(token)
    for message in (*known, *last):
        for _ in range(17):
            learns.deliver(Sent([message], [0.0], leaves=False))
    rng = random.Random(SEED + 2)  # noqa: S311  it has to come again
    reached = 0
    deadline = time.monotonic() + 0.5 * ROUNDS + 10
    for number in range(ROUNDS):
        assert time.monotonic() < deadline, "the fuzzer takes too long"
        sent = drawn(rng, known, last)
        (answers, api), (other_answers, other_api) = learns.deliver(sent), never.deliver(sent)
        said = (SEED + 2, number, sent, (answers, api), (other_answers, other_api))
        if sent.leaves:  # whether a request was on its way by then depends on the moment
            shorter, longer = sorted((api, other_api), key=len)
            assert longer[: len(shorter)] == shorter, said
            continue
        assert api == other_api, said
        # Garbage at the end may go unanswered: when it ends the body of an answered request in one read, and when the client
        # closes its side at that moment.
        shorter_answers, longer_answers = sorted((answers, other_answers), key=len)
        rest = longer_answers[len(shorter_answers) :]
        assert longer_answers.startswith(shorter_answers), said
        assert not rest or _LAST_WORD.fullmatch(rest), said
        reached += len(api)
    assert reached > ROUNDS, "too few requests reach the API to compare anything"
    for place in places:
        assert not place.sidecar.records("internal_error")
