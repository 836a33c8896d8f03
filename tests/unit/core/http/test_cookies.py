"""core.http.cookies: our cookies are cut out, in whatever way a server would read them; the others stay as they are."""

import time
from http.cookies import CookieError, SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.http.cookies import MARK, without_login
from sidecar.core.replies import EndpointRequest
from sidecar.oauth.login.sessions import Sessions
from sidecar.stores.memory import MemoryStore

VALUE = "v" * 43
CUT = {
    "in the middle": (f"a=1; __Host-sidecar={VALUE}; b=2", "a=1; b=2"),
    "first": (f"__Host-sidecar={VALUE}; b=2", "b=2"),
    "last": (f"a=1; sidecar={VALUE}", "a=1"),
    "alone": (f"sidecar={VALUE}", ""),
    "alone with a semicolon": (f"sidecar={VALUE};", ""),
    "alone between semicolons": (f"; sidecar={VALUE} ; ", ""),
    "twice": (f"sidecar={VALUE}; a=1; sidecar=x", "a=1"),
    "both": (f"__Host-sidecar={VALUE}; sidecar={VALUE}; a=1", "a=1"),
    "without spaces": (f"a=1;sidecar={VALUE};b=2", "a=1;b=2"),
    "with tabs": (f"a=1;\tsidecar\t=\t{VALUE};\tb=2", "a=1;\tb=2"),
    "the others keep their spaces": (f"a=1 ;  b = 2;sidecar={VALUE};  c", "a=1 ;  b = 2;  c"),
    "a semicolon at the end stays": (f"a=1; sidecar={VALUE};", "a=1;"),
    "without a value": ("a=1; sidecar", "a=1"),
    "with an empty value": ("sidecar=; a=1", "a=1"),
    "with another value": ("a=1; __Host-sidecar=x=y", "a=1"),
    "a name in quotes": (f'a=1; "sidecar"={VALUE}', "a=1"),
    "a value in quotes": (f'a=1; sidecar="{VALUE}"', "a=1"),
    "white space that only some take away": (f"a=1;\xa0sidecar={VALUE};\x85sidecar\x0c=1", "a=1"),
    "as an array of PHP": (f"a=1; sidecar[x]={VALUE}", "a=1"),
    "as PHP folds names": (f"a=1; ._Host-sidecar={VALUE}", "a=1"),
    "behind a comma": (f"a=1, sidecar={VALUE}; b=2", "b=2"),
    "behind a space": (f"a=1 __Host-sidecar={VALUE}; b=2", "b=2"),
    "that of the console": (f"a=1; sidecar-console={VALUE}; b=2", "a=1; b=2"),
    "that of the console over TLS": (f"__Host-sidecar-console={VALUE}; b=2", "b=2"),
    "that of the console behind a comma": (f"a=1, sidecar-console={VALUE}; b=2", "b=2"),
    "in the quotes of another": (f'a="x; sidecar={VALUE}"; b=2', 'a="x; b=2'),
}
KEPT = [
    "", "a=1", "a=1; b=2;", "sidecars=1", "sidecar-consoles=1", "sidecar-=1", "my-sidecar=1", "a.sidecar=1", "Sidecar=1", "SIDECAR=1", "__host-sidecar=1",
    "__Secure-sidecar=1", "-sidecar=1", f"my-sidecar={VALUE}", f"x__Host-sidecar={VALUE}", "a=sidecar", "a=x,sidecar",
    "a=x,sidecar=1", "a=x sidecar=1", f"a=x,sidecar={VALUE}v", f"sidecar_={VALUE}", "panels=main,sidecar; b=1", ";;", "=sidecar",
]  # fmt: skip


@pytest.mark.parametrize("case", CUT)
def test_our_cookie_is_cut(case: str) -> None:
    cookies, rest = CUT[case]
    assert MARK in cookies.encode("latin-1")
    assert without_login(cookies.encode("latin-1")) == rest.encode("latin-1")


@pytest.mark.parametrize("cookies", KEPT)
def test_every_other_cookie_stays(cookies: str) -> None:
    assert without_login(cookies.encode()) == cookies.encode()


SIZE = 32 * 1024
COSTLY = {
    "semicolons": b"sidecar" + b";" * SIZE,
    "names like ours": b"sidecarx;" * (SIZE // 9),
    "ours": b"sidecar;" * (SIZE // 8),
    "spaces": b"sidecar" + b" " * SIZE,
    "quotes": b"sidecar=" + b'"' * SIZE,
    "ours in one pair": b",sidecar=" * (SIZE // 9),
    "others": b"a=1; " * (SIZE // 5) + b"sidecar=1",
}


@pytest.mark.parametrize("case", COSTLY)
def test_nobody_waits_long_for_the_largest_cookie(case: str) -> None:
    """About 3 ms at most; the bound leaves room for a busy machine."""

    def seconds() -> float:
        begun = time.thread_time()
        without_login(COSTLY[case])
        return time.thread_time() - begun

    assert min(seconds() for _ in range(5)) < 0.03


def ours(cookies: str, *, secure: bool) -> str | None:
    """What the sidecar's own pages would take for the login."""
    store = MemoryStore(clock=lambda: 0.0, emit=lambda _: None)
    sessions = Sessions(
        store, secure=secure, ttl=60, clock=lambda: 0.0, new_secret=lambda: VALUE, ended=lambda *_: False
    )
    return sessions.cookie(EndpointRequest("GET", "/", "", (("Cookie", cookies),), b"", "peer"))


def by_python(cookies: str) -> set[str]:
    """The names that the standard library reads."""
    try:
        return set(SimpleCookie(cookies))
    except CookieError:
        return set()


PIECES = [
    "sidecar",
    "__Host-sidecar",
    "=",
    ";",
    "; ",
    ",",
    " ",
    "\t",
    '"',
    "a",
    "b=2",
    VALUE,
    f"sidecar={VALUE}",
    "\xa0",
    "[",
    ".",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_reader_finds_a_login_in_what_is_left(cookies: str) -> None:
    rest = without_login(cookies.encode("latin-1")).decode("latin-1")
    assert without_login(rest.encode("latin-1")).decode("latin-1") == rest
    for secure in (True, False):
        assert ours(rest, secure=secure) is None
    found = SimpleCookie(rest) if by_python(rest) else {}
    assert not any(name in ("sidecar", "__Host-sidecar") and morsel.value == VALUE for name, morsel in found.items())


@given(st.lists(st.sampled_from(["a=1", "b", "c=sidecar", "", " d = 4 ", "\te"]), max_size=5), st.integers(0, 5))
def test_what_is_not_ours_keeps_its_bytes(pairs: list[str], place: int) -> None:
    mixed = [*pairs[:place], f"sidecar={VALUE}", *pairs[place:]]
    rest = ";".join(pairs).strip(" \t")
    assert without_login(";".join(mixed).encode()) == (rest.encode() if rest.strip("; \t") else b"")
