"""No token of ours is logged, however a caller spells it."""

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.refresh_tokens import new_token
from sidecar.ops.redaction import redact, without_tokens

SECRET = "c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE"
ACCESS = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{SECRET}"
REFRESH = new_token("A" * 21 + "Q", bytes(range(32)))
TOKENS = {"access": (ACCESS, SECRET), "refresh": (REFRESH, REFRESH.partition(".")[2])}


def encoded(text: str, times: int = 1, *, lower: bool = False) -> str:
    """Each character, so many times."""
    every = "".join(f"%{ord(character):02X}" for character in text)
    for _ in range(times - 1):
        every = quote(every, safe="")
    return every.lower() if lower else every


# Each leaves the token whole for whoever decodes the path.
SPELLINGS = {
    "plain": lambda token: token,
    "first": lambda token: encoded(token[0]) + token[1:],
    "second": lambda token: token[0] + encoded(token[1]) + token[2:],
    "dots": lambda token: token.replace(".", "%2e"),
    "every": encoded,
    "lower": lambda token: encoded(token, lower=True),
    "twice": lambda token: encoded(token, 2),
    "seven times": lambda token: encoded(token, 7),
    "the digits": lambda token: "".join(f"%{encoded(f'{ord(each):02x}')}" for each in token),
    "every third": lambda token: "".join(encoded(each) if n % 3 else each for n, each in enumerate(token)),
}
PLACES = ["/{}", "/orders/{}/x", "/a;t={}", "/x{}", "/\xe4\udcff{}%", "/100%/%zz/{}", "/a.b.c/{}.json", "/{}/{}"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("token", TOKENS)
def test_no_spelling_of_a_token_is_logged(token: str, spelling: str, place: str) -> None:
    whole, secret = TOKENS[token]
    spelled = SPELLINGS[spelling](whole)
    path = place.replace("{}", spelled)
    for shown in (without_tokens(path, 100_000), redact(f"no good: {path} (GET)")):
        assert "[token]" in shown
        assert secret not in shown
        assert spelled not in shown
        assert encoded(secret)[-30:] not in shown


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nor_is_a_part_of_one_where_a_long_path_is_cut(token: str, spelling: str) -> None:
    whole, secret = TOKENS[token]
    spelled = SPELLINGS[spelling](whole)
    for length in range(len(spelled) + 4):
        shown = without_tokens(f"/{spelled}/x", length)
        assert secret[:20] not in shown
        assert len(shown) <= max(length, 20)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/orders/1",
        "/static/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.js",
        "/%E4/caf%C3%A9/" + "x" * 60 + "%2e%2e/%zz",
        "/a/" + "b" * 100 + ".tar.gz",
        "/" * 2000,
        "/Yj/eyeJ" + "x" * 60,
    ],
)
def test_any_other_path_stays_as_it_was_sent(path: str) -> None:
    assert without_tokens(path, 1024) == path[:1024]


@given(st.text(alphabet=st.sampled_from("eyJ%25.4aA-_/\xe4\udcffé=\n "), max_size=200), st.integers(0, 100))
def test_any_text_can_be_looked_at(text: str, most: int) -> None:
    assert without_tokens(text, most)[:most] is not None
    redact(text)


@pytest.mark.parametrize("piece", ["%", "%25", "eyJ", ".", "x", "%65%79%4A", "A" * 22 + ".", "%2e", "e", "%%36"])
def test_no_text_takes_long_to_look_at(piece: str) -> None:
    """Whoever is refused must not cost much more than who is admitted. (Milliseconds here; quadratic ones take minutes.)"""
    begun = time.process_time()
    for _ in range(20):
        without_tokens(piece * 1024, 1024)
    redact(piece * 50_000)
    assert time.process_time() - begun < 3
