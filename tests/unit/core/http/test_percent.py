"""core.http.percent: the same as urllib's, in less time."""

from urllib.parse import quote_from_bytes, unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.percent import BROKEN_ESCAPE, percent_decoded


@given(st.binary(), st.sampled_from(["", "=&% \r\n\t.", "".join(map(chr, range(128)))]))
def test_what_was_encoded_comes_back(data: bytes, safe: str) -> None:
    encoded = quote_from_bytes(data, safe.replace("%", "")).encode()
    assert percent_decoded(encoded) == data


@given(
    st.lists(
        st.sampled_from(
            [b"%41", b"%fF", b"%0a", b"=", b"==", b"=\n", b"=4", b"_", b" ", b"\r\n", b"\t\n", b"a", b"\xff"]
        )
    )
)
def test_it_decodes_as_urllib_does(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert not BROKEN_ESCAPE.search(data.decode("latin-1"))
    assert percent_decoded(data) == unquote_to_bytes(data)
