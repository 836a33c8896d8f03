"""core.patterns: what other tools write in a route, and what to write here."""

import pytest

from sidecar.core.policy import InvalidPattern, compile_pattern

TRANSLATED = {
    # variables
    "/things/{id}": "/things/*",
    "/things/{id:int}": "/things/*",
    "/things/{id:[0-9]+}": "/things/*",
    "/things/{id}/parts/{part}": "/things/*/parts/*",
    "/things/{{id}}": "/things/*",
    "/files/{name}.json": "/files/*.json",
    "/from/{a}-{b}": "/from/*",
    "/Orders({id})": "/Orders*",
    "/files/{path:path}": "/files/**",
    "/files/{path...}": "/files/**",
    "/files/{proxy+}": "/files/**",
    "/files/{*rest}": "/files/**",
    "/files/{path:.*}": "/files/**",
    "/things/:id": "/things/*",
    "/things/:id/parts": "/things/*/parts",
    "/things/:id?": "/things/*",
    "/things/:id(\\d+)": "/things/*",
    "/flights/:from-:to": "/flights/*-:to",
    "/files/:path*": "/files/**",
    "/files/:path+": "/files/**",
    "/things/<id>": "/things/*",
    "/things/<int:id>": "/things/*",
    "/files/<path:name>": "/files/**",
    "/things/<.*>": "/things/**",
    "/things/<**>/parts": "/things/**/parts",
    "/things/<[0-9]+>": "/things/*",
    "/things/[id]": "/things/*",
    "/files/[...path]": "/files/**",
    "/files/[[...path]]": "/files/**",
    # regular expressions
    "/a/(.*)": "/a/**",
    "/a/(.+)": "/a/**",
    "/a(/.*)?": "/a/**",
    "/a(?:/.*)?$": "/a/**",
    "^/a/.*": "/a/**",
    "^/a/.*$": "/a/**",
    "^/a/.+/b$": "/a/**/b",
    "^/a.*$": "/a*",
    "^/a\\.json$": "/a.json",
    "^/a$": "/a",
    "^/a": "/a",
    "^\\/a\\/b$": "/a/b",
    "^/a/(.*)$": "/a/**",
    "/a/[0-9]+": "/a/*",
    "/a/[0-9]{1,5}": "/a/*",
    "/a/([^/]+)": "/a/*",
    "/a/[^/]+/b": "/a/*/b",
    "/a/\\d+": "/a/*",
    "/a/(\\w+)/b": "/a/*/b",
    # nginx
    "~ /a": "/a",
    "~* ^/a$": "/a",
    "= /a": "/a",
    "^~ /a": "/a",
    # a query, or a letter that may be missing
    "/a?": "/a",
    "/a?b=c": "/a",
}
NOT_TRANSLATED = [
    "/a/(?!b)",
    "(/a|/b)",
    "/a|/b",
    "<",
    "{}",
    "^",
    "[",
    "/a{",
    "/>",
    "/a\n",
    "/a\x7f",
    "~ a",
    "/:" + "x" * 300,
    "{" * 9000,
]


@pytest.mark.parametrize("pattern", TRANSLATED)
def test_a_pattern_of_another_tool_is_told_what_to_write_here(pattern: str) -> None:
    with pytest.raises(InvalidPattern) as invalid:
        compile_pattern(pattern)
    assert str(invalid.value).endswith(f": write {TRANSLATED[pattern]}")


def test_what_it_is_told_is_a_pattern() -> None:
    for pattern in TRANSLATED.values():
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", NOT_TRANSLATED)
def test_what_cannot_be_guessed_is_told_in_general(pattern: str) -> None:
    with pytest.raises(InvalidPattern, match=r"\*\*"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/things/*:cancel", "/things/7:cancel"),
        ("/things:cancel", "/things:cancel"),
        ("/Orders(5)", "/Orders(5)"),
        ("/Orders(*)", "/Orders(5)"),
        ("/odata/$metadata", "/odata/$metadata"),
        ("/Patient/$everything", "/Patient/$everything"),
        ("/a$", "/a$"),
        ("/users/@me", "/users/@me"),
        ("/~user/**", "/~user/x"),
        ("/a/:8080", "/a/:8080"),
        ("/a/b:c", "/a/b:c"),
        ("/c++", "/c++"),
        ("/a=b,c", "/a=b,c"),
        ("/**/.*", "/a/.git"),
        ("/caf\u00e9/'x'!", "/caf\u00e9/'x'!"),
    ],
)  # fmt: skip
def test_a_literal_path_stays_what_it_is(pattern: str, path: str) -> None:
    assert compile_pattern(pattern).fullmatch(path)
