"""Patterns of other tools, which look right in a route and would never match: what to write here instead.

A router's variables (`/things/{id}`, `/things/:id`, `/things/<id>`, `/things/[id]`), regular expressions (`^/a$`, `/a/(.*)`,
`/a/[0-9]+`) and nginx's modifiers (`~ /a`) are told by characters that RFC 3986 section 3.3 has in no path, or by
their place: a literal path may hold `:`, `(`, `)` and `$`, so `/things/*:cancel` and `/Orders(5)` stay what they are.
"""

import re
from typing import Final

_FOREIGN: Final = re.compile(r"[\^{}<>\[\]|]|/:[A-Za-z_]|\(\?|\(\.[*+]|\\[dwsDWSb./-]")
_MODIFIER: Final = re.compile(r"\s*(?:=|~\*?|\^~)\s+")
# What stands for the rest of a path: {path...} of Go, {proxy+} of AWS, {*path} of Spring, <path:p> of Flask, :path* of
# Express, [...path] of Next.js, and regular expressions.
_REST: Final = re.compile(
    r"\{[*]*[\w-]*(?:\.\.\.|[+*]|:path|:\.[*+]|:\*\*?)\}|\{\*+[\w-]*\}|<path:[^<>]*>|\[{1,2}\.\.\.\w*\]{1,2}|(?<=/):\w+[*+]"
    r"|\(\??:?\.[*+]\??\)"
)
_ONE: Final = re.compile(
    r"\(?\{{1,2}[^{}]*\}{1,2}\)?|<[^<>]*>|(?<=/):\w+(?:\([^()]*\))?\??|\(?\[\^?/?[^\[\]]*\][*+?]?(?:\{[0-9,]*\})?\)?|\(?\\[dwS][*+]?\)?"
)
_LONGEST: Final = 200


def is_foreign(path: str) -> bool:
    """Whether `path` is surely a pattern of another tool."""
    return _FOREIGN.search(path) is not None or _MODIFIER.match(path) is not None


def translated(path: str) -> str | None:
    """What may be meant by a pattern of another tool or with a query, in our words; `None` for what cannot be guessed."""
    if len(path) > _LONGEST:
        return None
    text = _MODIFIER.sub("", path, count=1).removeprefix("^").removesuffix("$")
    text = re.sub(r"\((?:\?:)?/\.[*+]\)\??$", "/**", text.replace("\\/", "/").replace("\\.", "."))
    text = _ONE.sub("*", _REST.sub("**", text)).partition("?")[0]
    if text.count("(") != text.count(")"):
        return None  # cut within a group
    return "/".join(map(_one_star, text.rstrip("/").split("/"))) or "/"


def _one_star(segment: str) -> str:
    if segment == "**" or segment.count("*") < 2:
        return segment
    return segment.replace("**", "*") if segment.count("**") == 1 == segment.replace("**", "*").count("*") else "*"
