"""A request line that names another protocol is found wherever a read is cut."""

import pytest

from sidecar.proxy.client.request_line import RequestLineWatch

HTTP = b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nX: y RTSP/1.0\r\n\r\n"
OTHERS = [
    b"OPTIONS /x RTSP/1.0\r\nHost: a\r\n\r\n",
    b"SOURCE /x ICE/1.0\r\nHost: a\r\n\r\n",
    b"\r\n\r\nGET  /x   RTSP/1.0\r\nHost: a\r\n\r\n",
    b"GET /x RTSP/1.1 \r\nHost: a\r\n\r\n",
    b"GET /" + b"x" * 5000 + b" RTSP/1.0\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("data", OTHERS)
def test_however_the_head_is_cut(data: bytes) -> None:
    line_end = data.index(b".") + 5
    for cut in [*range(1, 40), *range(line_end - 30, len(data))]:
        watch = RequestLineWatch()
        assert not (watch.head(data[:cut]) and watch.head(data[cut:])), cut


def test_byte_by_byte() -> None:
    for data in OTHERS:
        watch = RequestLineWatch()
        assert not all(watch.head(data[index : index + 1]) for index in range(len(data)))
    watch = RequestLineWatch()
    assert all(watch.head(HTTP[index : index + 1]) for index in range(len(HTTP)))


def test_a_field_may_say_what_it_likes() -> None:
    for cut in range(1, len(HTTP)):
        watch = RequestLineWatch()
        assert watch.head(HTTP[:cut])
        assert watch.head(HTTP[cut:])
        assert watch.ended(HTTP[cut:], alone=True)


def test_one_behind_another_request() -> None:
    for other in OTHERS:
        for cut in range(len(other)):
            watch = RequestLineWatch()
            first = HTTP.replace(b" RTSP", b"") + other[:cut]
            assert watch.head(first)
            assert not (watch.ended(first, alone=cut == 0) and watch.head(other[cut:])), cut
