"""core.http.methods: which methods an override may mean."""

import pytest

from sidecar.core.http.methods import ANY, named_methods

READ = {
    b"": set(),
    b",": set(),
    b" \t": set(),
    b"DELETE": {"DELETE"},
    b"delete": {"DELETE"},
    b"\t Delete ": {"DELETE"},
    b"GET, DELETE": {"GET", "DELETE"},
    b",GET,DELETE,": {"GET", "DELETE"},
    b"GET,GET": {"GET"},
    b"DELETE;q=1": {"DELETE", "Q", "1"},
    b'"DELETE"': {"DELETE"},
    b"GET DELETE": {"GET", "DELETE"},
    b"version-control": {"VERSION-CONTROL"},
    b"MK_X": {"MK_X"},
    b"D\xc9LETE": {ANY},
    b"%44ELETE": {ANY},
    b"DELETE\x00": {ANY},
    b"*": {ANY},
    b"GET/DELETE": {ANY},
    b"a,b,c,d,e,f,g,h": set("ABCDEFGH"),
    b"a,b,c,d,e,f,g,h,i": {ANY},
}


@pytest.mark.parametrize("value", READ)
def test_every_word_is_a_method(value: bytes) -> None:
    assert named_methods(value) == READ[value]
