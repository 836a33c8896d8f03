"""Every relative link and picture in the documents leads to a file or folder of the repository, and every anchor to a heading."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.documents import ROOT, documents

MARKDOWN = [name for name in documents() if name.endswith(".md")]
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links(text: str) -> list[str]:
    """The targets of a document's links and pictures, outside of its blocks."""
    return [first or second for first, second in _LINK.findall(_BLOCK.sub("", text))]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings: the n-th repetition of one ends with `-n`."""
    found: set[str] = set()
    for heading in _HEADING.findall(_BLOCK.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{plain}-{number}"
        found.add(anchor)
    return found


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def broken(name: str, text: str) -> list[str]:
    """The links of a document that lead nowhere."""
    return [link for link in links(text) if not _ELSEWHERE.match(link) and not leads(name, text, link)]


def leads(name: str, text: str, link: str) -> bool:
    """Whether a link of a document leads to something in the repository."""
    path, _, anchor = link.partition("#")
    if not path:
        return anchor in anchors(text)
    target = ((ROOT / name).parent / path).resolve()
    if not (target.is_relative_to(ROOT) and target.exists()):
        return False
    return not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize("name", MARKDOWN)
def test_links_lead_somewhere(name: str) -> None:
    assert broken(name, text_of(name)) == []


def test_a_broken_link_is_noticed() -> None:
    """Its own check: a wrong file, a wrong anchor here and there, a wrong picture, and a way out of the repository."""
    good = (
        '# A `b` c: d\n\n[x](#a-b-c-d) [y](../README.md#use-it) [z](https://example.com/#q) <img src="openapi.yaml">\n'
    )
    assert broken("docs/new.md", good) == []
    assert broken("docs/new.md", "```\n[x](nowhere.md)\n```\n") == []
    for bad in ("nowhere.md", "#b", "../README.md#nowhere", "../../elsewhere", "SECURITY.md"):
        assert broken("docs/new.md", f"{good}[bad]({bad})\n") == [bad]
    assert broken("docs/new.md", '<source srcset="nowhere.png">') == ["nowhere.png"]


def test_a_repeated_heading_has_an_anchor_of_its_own() -> None:
    assert anchors("# A\n\n## B-b\n\n## B-b\n") == {"a", "b-b", "b-b-1"}


def test_every_document_for_users_is_reached_from_the_readme() -> None:
    """By a link there, or in the index of the documentation, which it names."""
    index = "docs/README.md"
    reached = {link.partition("#")[0] for link in links(text_of("README.md"))}
    assert index in reached
    reached |= {str(Path("docs", link.partition("#")[0])) for link in links(text_of(index))}
    assert {name for name in MARKDOWN if name.startswith("docs/")} <= reached
