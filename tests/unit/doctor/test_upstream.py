"""The API, as the doctor sees it: `tests/e2e/test_doctor.py` has the faults."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load
from sidecar.core.causes import Cause, Fault
from sidecar.core.reasons import Reason
from sidecar.doctor.upstream import REMEDIES, Answer, ask, look
from tests.support.process import configuration
from tests.support.upstream import Upstream, reply, saying


@pytest.mark.parametrize("cause", [each for each in Cause if each.reason is Reason.UPSTREAM_UNREACHABLE])
def test_every_cause_of_an_unreachable_api_has_a_remedy(cause: Cause) -> None:
    assert cause in REMEDIES


@pytest.mark.parametrize(
    ("host", "sent"),
    [("keep", "issuer.example"), ("upstream", "127.0.0.1:"), ("api.internal", "api.internal")],
)
async def test_the_api_is_asked_as_its_clients_ask(tmp_path: Path, host: str, sent: str) -> None:
    with Upstream(saying(reply(501), keep=False)) as server:
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(configuration({"url": server.url, "host": host})))
        settings = load(path)
        answer = await ask(settings, server.url, 5.0)
        assert isinstance(answer, Answer)
        assert (answer.status, answer.tls, answer.certificate) == (501, "", b"")
        (asked,) = server.take()
        assert dict(asked.headers)["Host"].startswith(sent)
        (finding,) = await look(settings, server.url, now=time.time(), patience=5.0)
        assert finding.found.startswith("answered OPTIONS * with 501 in ")


async def test_a_connection_that_is_taken_and_not_answered_is_told_apart(tmp_path: Path) -> None:
    def hold(*_: Any) -> bool:
        return True

    with Upstream(hold) as server:
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(configuration(server.url)))
        assert await ask(load(path), server.url, 0.2) == Fault(Cause.NO_ANSWER)
        (finding,) = await look(load(path), server.url, now=time.time(), patience=0.2)
    assert finding.found == "it accepts connections, and gave no answer to OPTIONS * within 0.2 s"
