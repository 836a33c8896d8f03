"""sidecar.demo: the tour that a newcomer takes. As a process: tests/e2e/test_readme.py and `sidecar demo --check`."""

import json
import shlex

import pytest

from sidecar.config.settings import Address
from sidecar.demo import Answer, Step, demo_settings, steps

TOUR = steps("http://127.0.0.1:1", "http://127.0.0.1:2", "secret")


@pytest.mark.parametrize("step", TOUR, ids=lambda step: step.title)
def test_each_step_is_a_command_that_a_shell_can_read(step: Step) -> None:
    words = shlex.split(step.command().removeprefix("TOKEN=$(").replace("); echo $TOKEN", ""))
    assert words[:2] in (["curl", "-s"], ["curl", "-si"])
    assert any(word.startswith("http://127.0.0.1:") for word in words)


def test_one_step_keeps_the_token_that_the_others_use() -> None:
    assert [step.title for step in TOUR if step.keeps_token] == ["A client gets a token"]
    assert any('"Authorization: Bearer $TOKEN"' in step.command() for step in TOUR)


def test_a_step_that_went_wrong_shows_it() -> None:
    refused, _, admitted, *_ = TOUR
    assert refused.shows(Answer(401, '{"reason": "missing_token"}'))
    assert not refused.shows(Answer(401, '{"reason": "expired"}'))
    assert not refused.shows(Answer(200, "{}"))
    good = {"received": {"headers": [["X-Auth-Client-Id", "demo"]]}}
    assert admitted.shows(Answer(200, json.dumps(good)))
    for headers in ([["X-Auth-Client-Id", "forged"]], [["X-Auth-Client-Id", "demo"], ["Authorization", "x"]], []):
        assert not admitted.shows(Answer(200, json.dumps({"received": {"headers": headers}})))


def test_what_is_no_json_is_none() -> None:
    assert Answer(200, "<html>").json is None


def test_the_demo_listens_on_loopback_alone_with_the_secret_of_this_run() -> None:
    made = demo_settings(Address("127.0.0.1", 1), Address("127.0.0.1", 2), "http://127.0.0.1:3", "memory://", "s" * 32)
    assert (str(made.listen.address), str(made.admin.listen)) == ("127.0.0.1:1", "127.0.0.1:2")
    (client,) = made.clients
    assert client.client_secret
    assert client.client_secret.get_secret_value() == "s" * 32
