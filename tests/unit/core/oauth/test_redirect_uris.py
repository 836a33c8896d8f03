"""core.oauth.redirect_uris: what may be registered. RFC 6749 section 3.1.2, RFC 8252 section 7, RFC 9700 section 2.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.redirect_uris import redirect_uri_fault

REGISTERED = [
    "https://app.example.com/callback",
    "https://app.example.com",
    "https://app.example.com:8443/cb?tenant=1&x=%20",
    "https://xn--bcher-kva.example/cb",
    "https://192.0.2.1/cb",
    "https://[2001:db8::1]/cb",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:8080/cb",
    "http://[::1]:1/cb",
    "http://localhost:3000/cb",
    "com.example.app:/callback",
    "com.example.app://callback",
]
REFUSED = {
    "": "must be a URI",
    "/callback": "must be absolute",
    "//evil.example/cb": "must be absolute",
    "app.example.com/cb": "must be absolute",
    "https://app.example.com/#x": "must not hold a fragment",
    "https://app.example.com/#": "must not hold a fragment",
    "http://app.example.com/cb": "must be https, or http on 127.0.0.1",
    "http://127.0.0.1.evil.example/cb": "must be https, or http on 127.0.0.1",
    "http://127.0.0.2/cb": "must be https, or http on 127.0.0.1",
    "https://user@app.example.com/cb": "must not hold a user name",
    "https://app.example.com@evil.example/": "must not hold a user name",
    "https://*.example.com/cb": "must name one host",
    "https:///cb": "must name one host",
    "https:/cb": "must name one host",
    "https://-a.example/": "must name one host",
    "https://a.example:99999/": "the host or port cannot be read",
    "https://a.example:x/": "the host or port cannot be read",
    "https://[::1/": "the host or port cannot be read",
    "https://app.example.com\\@evil.example/": "must be a URI",
    "https://app.example.com/ cb": "must be a URI",
    "https://app.example.com/cb\n": "must be a URI",
    "https://app.example.com/é": "must be a URI",
    'https://app.example.com/"': "must be a URI",
    "https://app.example.com/%zz": "must be a URI",
    "https://app.example.com/" + "a" * 2048: "must be a URI",
    "https://app.example.com/a/../b": "must not hold the path segments",
    "https://app.example.com/a/%2E%2e/b": "must not hold the path segments",
    "https://app.example.com/.": "must not hold the path segments",
    "javascript:alert(1)": "must be https, or a scheme of your own with a dot",
    "data:text/html,x": "must be https, or a scheme of your own with a dot",
    "myapp://callback": "must be https, or a scheme of your own with a dot",
    "ftp://app.example.com/cb": "must be https, or a scheme of your own with a dot",
    "com.example.app:": "must have something behind the scheme",
}


@pytest.mark.parametrize("uri", REGISTERED)
def test_registered(uri: str) -> None:
    assert redirect_uri_fault(uri) is None


@pytest.mark.parametrize("uri", REFUSED)
def test_refused_with_what_would_be_right(uri: str) -> None:
    fault = redirect_uri_fault(uri)
    assert fault
    assert fault.startswith(REFUSED[uri])


@given(st.text(max_size=30) | st.from_regex(r"https?://[a-z.@:\[\]\\/#?%-]*", fullmatch=True))
def test_any_text_is_registered_or_refused(text: str) -> None:
    fault = redirect_uri_fault(text)
    assert fault is None or fault[:1].islower()
