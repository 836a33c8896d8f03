"""Patterns of other tools: in a route they look right, but never match. This module suggests what to write instead.

Router variables (`/things/{id}`, `/things/:id`, `/things/<id>`, `/things/[id]`), regular expressions (`^/a$`, `/a/(.*)`,
`/a/[0-9]+`) and nginx's modifiers (`~ /a`) are recognised by characters that RFC 3986 section 3.3 does not allow in a path, or
by their position. A literal path may contain `:`, `(`, `)` and `$`, so `/things/*:cancel` and `/Orders(5)` are left alone.
"""

import re
from typing import Final

_FOREIGN: Final = re.compile(r"[\^{}<>\[\]|]|/:[A-Za-z_]|\(\?|\(\.[*+]|\\[dwsDWSb./-]")
_MODIFIER: Final = re.compile(r"\s*(?:=|~\*?|\^~)\s+")
# Patterns for the rest of a path: {path...} of Go, {proxy+} of AWS, {*path} of Spring, <path:p> of Flask, :path* of
# Express, [...path] of Next.js, <.*> and <**> of Oathkeeper, and regular expressions.
_REST: Final = re.compile(
    r"\{[*]*[\w-]*(?:\.\.\.|[+*]|:path|:\.[*+]|:\*\*?)\}|\{\*+[\w-]*\}|<path:[^<>]*>|\[{1,2}\.\.\.\w*\]{1,2}|(?<=/):\w+[*+]"
    r"|\(\??:?\.[*+]\??\)|<(?:\.[*+]|\*\*)>|(?<=/)\.[*+]\??(?=/|$)"
)
_BEGINS_SO: Final = re.compile(r"(?<=[\w-])\.[*+]\??$")  # the end of /name.*
_ONE: Final = re.compile(
    r"\(?\{{1,2}[^{}]*\}{1,2}\)?|<[^<>]*>|(?<=/):\w+(?:\([^()]*\))?\??|\(?\[\^?/?[^\[\]]*\][*+?]?(?:\{[0-9,]*\})?\)?|\(?\\[dwS][*+]?\)?"
)
_LONGEST: Final = 200


def is_foreign(path: str) -> bool:
    """Whether `path` is certainly a pattern of another tool."""
    return _FOREIGN.search(path) is not None or _MODIFIER.match(path) is not None


def translated(path: str) -> str | None:
    """The likely equivalent of a pattern of another tool, or of one with a query; `None` if it cannot be guessed."""
    if len(path) > _LONGEST:
        return None
    text = _MODIFIER.sub("", path, count=1).removeprefix("^").removesuffix("$")
    text = re.sub(r"\((?:\?:)?/\.[*+]\)\??$", "/**", text.replace("\\/", "/").replace("\\.", "."))
    text = _ONE.sub("*", _BEGINS_SO.sub("*", _REST.sub("**", text))).partition("?")[0]
    if text.count("(") != text.count(")"):
        return None  # a group was cut in half
    return "/".join(map(_one_star, text.rstrip("/").split("/"))) or "/"


def _one_star(segment: str) -> str:
    if segment == "**" or segment.count("*") < 2:
        return segment
    return segment.replace("**", "*") if segment.count("**") == 1 == segment.replace("**", "*").count("*") else "*"
