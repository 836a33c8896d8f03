"""core.events: what is said of a request, a token or a person, and what never is."""

from typing import get_args

import pytest

from sidecar.core.events import Decision, Event, LoginFailed, PersonEvent, RequestDone
from sidecar.core.reasons import Reason

KINDS = [kind for kind in get_args(Event) if not get_args(kind)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_is_immutable_and_holds_no_credential(kind: type) -> None:
    fields = set(kind._fields)  # type: ignore[attr-defined]  # named tuples
    assert not fields & {"token", "password", "authorization", "headers", "query", "cookie", "code"}
    assert issubclass(kind, tuple)


def test_every_event_of_a_person_is_an_event() -> None:
    assert set(get_args(PersonEvent)) <= set(KINDS)


def test_what_is_rarely_known_of_a_request_need_not_be_said() -> None:
    done = RequestDone(Decision.ADMITTED, 200, 0.1, 0.05, None, "GET", "/", "app", "::1")
    assert (done.fault, done.user, done.told) == (None, None, False)


def test_a_failed_login_may_have_no_user() -> None:
    """A name that is not configured may be a password in the wrong field."""
    assert LoginFailed(Reason.BAD_CREDENTIALS, None, "app", "::1").user is None
