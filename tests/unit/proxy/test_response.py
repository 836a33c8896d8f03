"""What of a streamed response is written, for clients of either version."""

import pytest

from sidecar.proxy.response import StreamedResponse
from tests.support.exchanges import head


@pytest.mark.parametrize(
    ("fields", "modern", "bodyless", "said", "by_close"),
    [
        ({b"Content-Length": b"4"}, True, False, b"Content-Length: 4\r\n\r\nfour", False),
        ({b"Content-Length": b"4"}, False, False, b"Content-Length: 4\r\n\r\nfour", False),
        ({}, True, False, b"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n", False),
        ({b"Transfer-Encoding": b"chunked"}, True, False, b"chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n", False),
        ({b"Transfer-Encoding": b"chunked"}, False, False, b"\r\n\r\nfour", True),
        ({}, False, False, b"\r\n\r\nfour", True),
        ({b"Transfer-Encoding": b"chunked"}, True, True, b"Transfer-Encoding: chunked\r\n\r\n", False),
        ({}, True, True, b"HTTP/1.1 200 OK\r\n\r\n", False),
    ],
)
def test_the_client_finds_the_end_of_the_body(
    fields: dict[bytes, bytes], modern: bool, bodyless: bool, said: bytes, by_close: bool
) -> None:
    response, headers = StreamedResponse(modern=modern), head(fields)
    response.frame(headers, bodyless=bodyless)
    response.head(200, b"OK", headers, b"")
    if not bodyless:
        response.body(b"four")
    response.end()
    written = response.take()
    assert written.endswith(said)
    assert (b"chunked" in written) is (b"chunked" in said)
    assert response.ends_by_close is by_close


def test_what_was_taken_is_not_given_again() -> None:
    response = StreamedResponse(modern=True)
    response.body(b"one")
    assert (response.take(), response.take()) == (b"one", b"")


@pytest.mark.parametrize("modern", [True, False])
def test_interim_responses_are_for_clients_that_know_them(modern: bool) -> None:
    response = StreamedResponse(modern=modern)
    response.informational(103, b"Early Hints", head({b"Link": b"</a>"}))
    assert response.take() == (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if modern else b"")


@pytest.mark.parametrize("chunked", [True, False])
def test_trailers_go_on_where_there_are_chunks(chunked: bool) -> None:
    response = StreamedResponse(modern=True)
    response.frame(head({} if chunked else {b"Content-Length": b"4"}), bodyless=False)
    response.body(b"four")
    response.trailers([b"X: 1\r\n"])
    response.end()
    assert response.take() == (b"4\r\nfour\r\n0\r\nX: 1\r\n\r\n" if chunked else b"four")


def test_a_426_names_what_it_wants() -> None:
    headers = head({b"Content-Length": b"0", b"Connection": b"upgrade", b"Upgrade": b"TLS/1.2"})
    for status in (426, 200):
        response = StreamedResponse(modern=True)
        response.head(status, b"Said", headers, b"")
        assert (b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n" in response.take()) is (status == 426)
