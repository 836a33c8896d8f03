"""sidecar.demo_api: an API that knows nothing of authentication, and echoes what it got."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from sidecar.demo_api import main, orders_api


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/orders", 200), ("GET", "/orders/1", 200), ("DELETE", "/orders/2", 204), ("GET", "/orders/9", 404),
     ("POST", "/orders", 201), ("GET", "/broken", 500), ("GET", "/other", 404)],
)  # fmt: skip
async def test_every_status_that_passes_through(method: str, path: str, status: int) -> None:
    async with TestClient(TestServer(orders_api())) as client:
        assert (await client.request(method, path)).status == status


async def test_it_tells_what_it_received() -> None:
    async with TestClient(TestServer(orders_api())) as client:
        response = await client.post("/orders?a=%20b", data=b"\xffbody", headers={"X-A": "1"})
        received: dict[str, Any] = (await response.json())["received"]
    assert (received["method"], received["target"]) == ("POST", "/orders?a=%20b")
    assert ["X-A", "1"] in received["headers"]
    assert received["body"].endswith("body")


@pytest.mark.parametrize("listen", ["", "3080", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", ":1"])
def test_an_address_that_is_none_is_told_how_to_write_one(listen: str) -> None:
    result = CliRunner().invoke(main, ["--listen", listen])
    assert (result.exit_code, "127.0.0.1:3080" in result.output) == (2, True)
