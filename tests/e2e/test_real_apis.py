"""In front of API servers nobody here wrote: what comes through equals what comes directly, byte for byte."""

import gzip
import json
import re
import socket
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.process import Sidecar, running
from tests.support.raw import Response, read_response
from tests.support.servers import datasette, httpbin

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}
OF_THE_MOMENT = {"date"}


@pytest.fixture(scope="module")
def bin_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


@pytest.fixture(scope="module")
def bin_sidecar(tmp_path_factory: pytest.TempPathFactory, bin_url: str) -> Iterator[Sidecar]:
    with running(tmp_path_factory.mktemp("sidecar"), bin_url) as sidecar:
        yield sidecar


@pytest.fixture(scope="module")
def data_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with datasette(tmp_path_factory.mktemp("datasette")) as url:
        yield url


@pytest.fixture(scope="module")
def data_sidecar(tmp_path_factory: pytest.TempPathFactory, data_url: str) -> Iterator[Sidecar]:
    with running(tmp_path_factory.mktemp("sidecar"), data_url) as sidecar:
        yield sidecar


def ask(url: str, method: str, target: str, headers: list[str], body: bytes) -> Response:
    """A request with the same `Host` wherever it goes, for servers put it into what they answer."""
    parts = urlsplit(url)
    lines = [f"{method} {target} HTTP/1.1", "Host: api.example", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return read_response(connection, method)


def comparable(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [(n, v) for n, v in response.headers if n.lower() not in HOP_BY_HOP | OF_THE_MOMENT]
    return response.status, headers, response.body


def both(
    direct: str, sidecar: Sidecar, method: str, target: str, headers: list[str], body: bytes = b""
) -> tuple[Response, Response]:
    bearer = f"Authorization: Bearer {sidecar.token()}"
    return (
        ask(direct, method, target, headers, body),
        ask(sidecar.public, method, target, [*headers, bearer], body),
    )


HTTPBIN = [
    ("GET", "/status/200"), ("GET", "/status/204"), ("GET", "/status/304"), ("GET", "/status/404"),
    ("GET", "/status/418"), ("GET", "/status/500"), ("GET", "/status/503"), ("PUT", "/status/201"),
    ("DELETE", "/status/204"), ("PATCH", "/status/409"), ("HEAD", "/html"), ("OPTIONS", "/get"),
    ("GET", "/html"), ("GET", "/robots.txt"), ("GET", "/deny"), ("GET", "/encoding/utf8"), ("GET", "/json"), ("GET", "/xml"),
    ("GET", "/image/png"), ("GET", "/bytes/10240?seed=1"), ("GET", "/stream-bytes/200000?seed=1&chunk_size=777"),
    ("GET", "/range/2000"), ("GET", "/drip?numbytes=10&duration=1&delay=0"),
    ("GET", "/redirect/3"), ("GET", "/absolute-redirect/1"), ("GET", "/redirect-to?url=http%3A%2F%2Fexample.com%2F%3Fa%3Db"),
    ("GET", "/response-headers?Set-Cookie=a%3D1&Set-Cookie=b%3D2&X-A=%C3%A4"), ("GET", "/cookies/set?a=1&b=2"),
    ("GET", "/base64/aGVsbG8%3D"), ("GET", "/links/3"), ("GET", "/forms/post"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target"), HTTPBIN)
def test_httpbin_answers_the_same_through_the_sidecar(
    bin_url: str, bin_sidecar: Sidecar, method: str, target: str
) -> None:
    direct, through = both(bin_url, bin_sidecar, method, target, ["Accept: */*"])
    assert direct.complete
    assert through.complete
    assert comparable(through) == comparable(direct)


ECHOES = [
    ("GET", "/get?a=1&b=%2F+x&a=2", "", b""),
    ("POST", "/post", "application/x-www-form-urlencoded", b"a=1&b=%2F+x&a=2"),
    ("POST", "/post", "application/json", b'{"a": [1, 2.50, "\\u00e4"]}'),
    ("PUT", "/put", "application/octet-stream", bytes(range(256)) * 1000),
    ("PATCH", "/patch", "text/plain; charset=utf-8", "äöü".encode()),
    ("DELETE", "/delete", "text/plain", b"x"),
    ("POST", "/anything/a%2Db//c;d?x", "multipart/form-data; boundary=B",
     b'--B\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nabc\r\n--B--\r\n'),
    ("GET", "/delay/1", "", b""), ("GET", "/etag/abc", "", b""), ("GET", "/cache", "", b""), ("GET", "/gzip", "", b""), ("GET", "/deflate", "", b""), ("GET", "/stream/20", "", b""),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "media_type", "body"), ECHOES)
def test_httpbin_receives_the_same_through_the_sidecar(
    bin_url: str, bin_sidecar: Sidecar, method: str, target: str, media_type: str, body: bytes
) -> None:
    """What it echoes differs in the identity headers alone."""
    headers = ["Accept: */*", "X-Mixed-Case: A b  c", *([f"Content-Type: {media_type}"] if media_type else [])]
    direct, through = both(bin_url, bin_sidecar, method, target, headers, body)
    assert (through.status, [n for n, _ in comparable(through)[1]]) == (200, [n for n, _ in comparable(direct)[1]])
    assert through.values("content-encoding") == direct.values("content-encoding")
    for left, right in zip(echoes(through), echoes(direct), strict=True):
        for name in ("X-Auth-Client-Id", "X-Auth-Subject", "X-Auth-Scope", "X-Auth-Roles"):
            assert left["headers"].pop(name)
        for echo in (left, right):
            for name in ("Connection", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"):
                echo["headers"].pop(name, None)
        assert left == right


def echoes(response: Response) -> list[dict[str, dict[str, str]]]:
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress}
    text = unpack.get("".join(response.values("content-encoding")), bytes)(response.body)
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


DATASETTE = [
    "/", "/shop", "/shop/orders", "/shop/orders.json", "/shop/orders.json?_size=10&_shape=objects",
    "/shop/orders.csv?_stream=1", "/shop/orders/17.json", "/shop/orders/9999", "/nothing.json", "/shop.db",
    "/shop.json?sql=select+sum(price)+from+orders", "/shop.json?sql=select+broken", "/-/versions.json",
    "/shop/orders.json?item__contains=%C3%A4&_sort_desc=price&_size=3", "/-/static/app.css",
]  # fmt: skip


@pytest.mark.parametrize("target", DATASETTE)
def test_datasette_answers_the_same_through_the_sidecar(data_url: str, data_sidecar: Sidecar, target: str) -> None:
    direct, through = both(data_url, data_sidecar, "GET", target, ["Accept: */*"])
    assert direct.complete
    assert through.complete
    assert _without_timing(comparable(through)) == _without_timing(comparable(direct))


def _without_timing(answer: tuple[int, list[tuple[str, str]], bytes]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Datasette writes into its pages how long its queries took, and a new CSRF cookie."""
    status, headers, body = answer
    body = re.sub(rb'"query_ms": [\d.e-]+|Queries took\s+[\d.]+ms|csrftoken" value="[^"]+"', b"", body)
    kept = [(n, "" if n.lower() in ("set-cookie", "content-length") else v) for n, v in headers]
    return status, kept, body


def test_every_page_of_a_table_is_reached_by_following_its_links(data_sidecar: Sidecar) -> None:
    """Datasette builds the links from `Host` and `X-Forwarded-*`: they lead through the sidecar again."""
    token, target, seen = data_sidecar.token(), "/shop/orders.json?_size=100&_shape=objects", 0
    while target:
        response = ask(data_sidecar.public, "GET", target, [f"Authorization: Bearer {token}"], b"")
        page = json.loads(response.body)
        seen += len(page["rows"])
        following = page.get("next_url") or ""
        assert not following or urlsplit(following).netloc == "api.example"
        target = following.partition("api.example")[2]
    assert seen == 250


def test_without_a_token_nothing_of_the_api_is_seen(data_sidecar: Sidecar, bin_sidecar: Sidecar) -> None:
    for sidecar, target in ((data_sidecar, "/shop/orders.json"), (bin_sidecar, "/get"), (bin_sidecar, "/status/500")):
        assert ask(sidecar.public, "GET", target, [], b"").status == 401
