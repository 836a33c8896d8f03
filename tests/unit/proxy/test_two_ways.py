"""The full parser and the shapes of heads are two ways to read a request; what becomes of it is the same.

From the client's bytes to those that the API gets, with the real connection, handler and exchange: requests that mix the usual
with what an attacker would send, changed a little after the parser has accepted them, in reads of any size.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.events import Decision
from sidecar.core.http.fields import request_kinds
from sidecar.core.policy import Access, Route
from sidecar.core.reasons import Reason
from sidecar.proxy.rules import CredentialRules, HostRules
from tests.support.decided import rules
from tests.support.odd_requests import (
    ACTIONS,
    AFTER,
    BEARER,
    BODIES,
    FIELDS,
    LENGTH,
    LINES,
    ODD,
    SENT_TO,
    SHAPED,
    SPICE,
    TYPES,
    USUAL,
    VERSIONS,
    Asked,
    Case,
    Change,
    reads,
    section,
)
from tests.support.two_ways import PROXY, Learnt, Seen, Side, Unlearnt

_USUAL = settings().max_examples
EXAMPLES: Final = 20_000 if _USUAL >= 5000 else _USUAL
GARBAGE = (Decision.REFUSED, 400, Reason.MALFORMED_REQUEST, "-", "-", None)
EDGE = request_kinds(["X-Edge"])
ROUTES = (
    Route("/public/**", access=Access.PUBLIC),
    Route("/closed/**", access=Access.DENY),
    Route("/scoped/**", scope=frozenset(["b"])),
    Route("/x", methods=frozenset(["DELETE"]), scope=frozenset(["b"])),
)


def _places(*places: str, limit: int = 65536) -> CredentialRules:
    return CredentialRules(frozenset(places), limit, any_header={"bearer", "header"} <= set(places))


EVERY = ("bearer", "header", "query", "body")
RULES = [
    rules(*ROUTES),
    rules(*ROUTES, host=HostRules(b"api", b"inner"), kinds=EDGE),
    rules(*ROUTES, host=HostRules(b"api", b"\0")),
    rules(*ROUTES, credentials=_places("bearer")),
    rules(*ROUTES, credentials=_places("header", "query")),
    rules(*ROUTES, credentials=_places("bearer", "body", limit=30)),
    rules(*ROUTES, credentials=_places("body", limit=500)),
    rules(*ROUTES, kinds=EDGE, credentials=_places(*EVERY, limit=4)),
]


_CHANGE = st.builds(Change, st.integers(0, 11), st.booleans(), st.integers(0, 40))
_ODD: dict[str, st.SearchStrategy[Any]] = {
    "line": st.sampled_from(LINES),
    "version": st.sampled_from(VERSIONS),
    "changes": st.lists(_CHANGE, min_size=1, max_size=2),
    "body": st.sampled_from(BODIES),
    "declared": st.booleans(),
    "after": st.sampled_from(AFTER),
    "split": st.lists(st.integers(1, 15), min_size=1, max_size=3),
    "between": st.sampled_from(ACTIONS),
    "spice": st.tuples(st.integers(0, 1023), st.integers(0, 3), st.sampled_from(SPICE)),
}
"""What may be odd about a request."""


def _asked(*odd: str) -> st.SearchStrategy[Asked]:
    """Requests that are odd in these points alone."""
    usual: dict[str, st.SearchStrategy[Any]] = {name: st.just(value) for name, value in USUAL._asdict().items()}
    usual |= {"line": st.sampled_from(LINES[:10]), "body": st.sampled_from(BODIES[:5])}
    return st.builds(Asked, **{**usual, **{name: _ODD[name] for name in odd}})


_ASKED = st.one_of(
    _asked(),
    *map(_asked, _ODD),
    _asked("line", "body"),
    _asked("changes", "split"),
    _asked("split", "between"),
    _asked(*_ODD),
)


def _with_bearer(fields: list[int]) -> list[int]:
    return fields if BEARER in fields else [*fields[:3], BEARER, *fields[3:]]


CASES = st.builds(
    Case,
    st.one_of(
        st.lists(st.sampled_from(SHAPED), max_size=8, unique=True).map(_with_bearer),
        st.lists(st.sampled_from(SHAPED), max_size=8, unique=True).map(_with_bearer),
        st.lists(st.sampled_from(SHAPED), max_size=8, unique=True),
        st.lists(st.sampled_from(range(len(FIELDS))), max_size=9),
    ),
    st.integers(0, len(RULES) - 1),
    st.sampled_from([None, None, 4, 100]),
    st.booleans(),
    st.lists(st.one_of(_ASKED, _ASKED, _ASKED, st.sampled_from(ACTIONS)), min_size=1, max_size=4),
)


def usual(case: Case) -> list[bytes]:
    """Requests with the usual section, from which a shape is learnt."""
    said = any(FIELDS[number][0].lower() == b"content-length" for number in case.fields)
    return [b"POST /x HTTP/1.1\r\n" + section(case.fields, [], None) + (b"hello" if said else b"")]


async def outcome(case: Case, side: Side) -> Seen:
    """What becomes of the case there."""
    side.connect(PROXY if case.trusted else "10.0.0.1")
    for data in usual(case):
        await side.feed(data)
    side.connect(PROXY if case.trusted else "10.0.0.1")
    for step in case.steps:
        if isinstance(step, str):
            await side.act(step)
        else:
            for number, data in enumerate(reads(step, case.fields)):
                await side.feed(data)
                if not number and step.between:
                    await side.act(step.between)
    seen = side.seen()
    await side.leave()
    return seen


async def both(case: Case) -> tuple[Seen, Seen, int]:
    """What becomes of a case by the parser, and by the shapes; and how many heads had a known shape."""
    said = RULES[case.rules]
    limits = {"host": said.host.instead, "line": 1024, "size": 4096, "count": 24}
    unlearnt = Unlearnt(said.kinds, **limits)
    parsed = await outcome(case, Side(said, unlearnt, body_limit=case.body_limit))
    learnt = Learnt(unlearnt.accepted, said.kinds, **limits)
    plain = await outcome(case, Side(said, learnt, body_limit=case.body_limit))
    return parsed, plain, learnt.used


def alike(parsed: Seen, plain: Seen) -> bool:
    """Whether both ways have one outcome.

    A client that ends the body of an answered request together with garbage gets a last word more by the second way: the
    parser keeps silent about it. Both close the connection.
    """
    if len(plain.reports) > len(parsed.reports) and plain.reports[-1][:6] == GARBAGE:
        *others, last = plain.written
        last = last[: last.rindex(b"HTTP/1.1 400 ")]
        plain = plain._replace(written=[*others, last], reports=plain.reports[:-1])
    return plain == parsed and not parsed.failures


Tried = tuple[list[int], list[Asked | str]]


def _values() -> Iterator[Tried]:
    for number, (name, _, odd) in enumerate(FIELDS):
        fields = list(dict.fromkeys([2, BEARER, number, 3, *([] if name.lower() == b"host" else [0])]))
        for value in range(len(odd or ODD)):
            changes = [Change(fields.index(number), own=True, value=value)]
            asked = USUAL._replace(changes=changes, body=b"hello")
            yield fields, [USUAL, asked, asked]
    for value in range(len(ODD)):
        for place in range(4):
            yield [0, 2, BEARER, 3], [USUAL, USUAL._replace(changes=[Change(place, own=False, value=value)])]


def _twice() -> Iterator[Tried]:
    changed = [USUAL._replace(changes=[Change(place, own=True, value=1)]) for place in (1, 4)]
    for first in SHAPED:
        for second, (name, _, _) in enumerate(FIELDS):
            if name.lower() == FIELDS[first][0].lower():
                for each in (USUAL, *changed):
                    yield [BEARER, first, 0, 3, second], [USUAL, each]


def _parts() -> Iterator[Tried]:
    for line in LINES:
        yield [BEARER, 3], [USUAL, USUAL._replace(line=line)]
        yield [3], [USUAL._replace(line=line)]
    hello = USUAL._replace(body=b"hello")
    for odd in (
        *(hello._replace(version=each) for each in VERSIONS),
        *(hello._replace(after=each) for each in AFTER),
        *(hello._replace(spice=(64 * place, less, each)) for each in SPICE for place in range(16) for less in (0, 1)),
    ):
        yield [0, 2, BEARER, LENGTH, 3], [hello, odd, hello]


def _targets() -> Iterator[Tried]:
    lines = [line for line in LINES if b"access" in line or line == b"GET /x"]
    for first, second in itertools.product(lines, lines):
        asked: list[Asked | str] = [USUAL._replace(line=line) for line in (first, second, second)]
        yield [3], asked
        yield [BEARER, 3], asked


def _bodies() -> Iterator[Tried]:
    for body, kind, line, split in itertools.product(BODIES, TYPES, SENT_TO, ([], [1], [13], [14, 15])):
        asked = USUAL._replace(line=line, body=body, split=split)
        yield [2, LENGTH, 3, kind], [asked, USUAL]
        yield [kind, BEARER, LENGTH, 3], [asked, USUAL._replace(body=b"hello")]


def _happenings() -> Iterator[Tried]:
    for what, line in itertools.product(ACTIONS, SENT_TO):
        late = USUAL._replace(line=line, body=b"hello" * 9, split=[15], between=what)
        whole = late._replace(between="", split=[])
        for fields in ([BEARER, LENGTH, 3], [LENGTH, 3], [LENGTH, TYPES[0], 3]):
            yield fields, [late, "check", whole, late]
            yield fields, [whole, what, whole, USUAL._replace(line=line), "resume", whole]


@pytest.mark.parametrize("tried", [_values, _twice, _parts, _targets, _bodies, _happenings])
def test_each_oddity_has_one_outcome(tried: Callable[[], Iterator[Tried]]) -> None:
    async def compare() -> None:
        used = number = 0
        for number, (fields, steps) in enumerate(tried()):
            case = Case(fields, number % len(RULES), None, bool(number % 3), steps)
            parsed, plain, count = await both(case)
            assert alike(parsed, plain), (case, parsed, plain)
            used += count
        assert used > number / 2, "there is nothing to compare"

    asyncio.run(compare())


def test_a_request_has_one_outcome_however_it_is_read() -> None:
    used = 0

    @given(CASES)
    @settings(max_examples=EXAMPLES)
    def compare(case: Case) -> None:
        nonlocal used
        parsed, plain, count = asyncio.run(both(case))
        used += count
        assert alike(parsed, plain), (parsed, plain)

    compare()
    assert used > EXAMPLES / 2, "there is nothing to compare"
