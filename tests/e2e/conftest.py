"""A sidecar process in front of a recording upstream, shared by the tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import Sidecar, running
from tests.support.upstream import Upstream, echo


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def sections() -> dict[str, object]:
    """What a module adds to the configuration."""
    return {}


@pytest.fixture(scope="module")
def sidecar(
    tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream, sections: dict[str, object]
) -> Iterator[Sidecar]:
    folder: Path = tmp_path_factory.mktemp("sidecar")
    with running(folder, shared_upstream.url, **sections) as process:
        yield process


@pytest.fixture(scope="module")
def token(sidecar: Sidecar) -> str:
    return sidecar.token()


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Upstream:
    """The upstream, with nothing recorded yet and its usual answer."""
    shared_upstream.answer = echo
    shared_upstream.take()
    return shared_upstream
