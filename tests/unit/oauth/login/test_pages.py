"""oauth.login.pages and templates: what people see, and how an operator changes it."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from sidecar.config.templates import template_fault
from sidecar.core.reasons import Reason
from sidecar.oauth.login.pages import TEMPLATES, Pages, see_other

LOGIN = {"client_name": "Order <b>Desk</b>", "notice": "", "username": '"><script>', "csrf": "t"}


def pages(folder: Path | None = None) -> Pages:
    return Pages(folder, site="Example & Co", scopes={"profile": "See your name"}, form_action=["https://next.example"])


def header(reply: object, name: str) -> str:
    return dict(reply.headers)[name]  # type: ignore[attr-defined]


def test_what_is_not_ours_is_escaped() -> None:
    text = pages().render("login.html", **LOGIN).body.decode()
    assert "Order &lt;b&gt;Desk&lt;/b&gt;" in text
    assert 'value="&#34;&gt;&lt;script&gt;"' in text
    assert "Example &amp; Co" in text
    assert "<script" not in text


def test_the_policy_allows_the_style_sheet_that_is_in_the_page() -> None:
    reply = pages().render("login.html", **LOGIN)
    style = re.search(r"<style>(.*?)</style>", reply.body.decode(), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in header(reply, "Content-Security-Policy")


@pytest.mark.parametrize(
    ("leads_to", "expected"),
    [
        ((), "'self'"),
        (("https://app.example",), "'self' https://app.example https://next.example"),
        (("https://next.example",), "'self' https://next.example"),
    ],
)
def test_a_form_leads_to_us_and_to_the_client(leads_to: tuple[str, ...], expected: str) -> None:
    policy = header(pages().render("login.html", leads_to=leads_to, **LOGIN), "Content-Security-Policy")
    assert policy.endswith(f"; form-action {expected}")


def test_a_folder_replaces_single_templates(tmp_path: Path) -> None:
    (tmp_path / "signed_out.html").write_text(
        '{% extends "base.html" %}{% block title %}Bye{% endblock %}{% block content %}Goodbye{% endblock %}'
    )
    (tmp_path / "style.css").write_text("body { color: red }\r\n")
    text = pages(tmp_path).render("signed_out.html").body.decode()
    assert ("Goodbye" in text, "<title>Bye · Example &amp; Co</title>" in text) == (True, True)
    assert "<style>body { color: red }\n</style>" in text, "as browsers read it, which the hash is of"
    assert "Sign in" in pages(tmp_path).render("login.html", **LOGIN).body.decode()


@pytest.mark.parametrize(
    ("scope", "meaning"),
    [
        ("profile", "See your name"),
        ("orders:read", "See orders"),
        ("customer_orders:write", "Create and change customer orders"),
        ("shop.orders.delete", "Delete shop orders"),
        ("read", ""),
        (":read", ""),
        ("orders:print", ""),
        ("{0.__class__}:read", "See {0   class  }"),
    ],
)
def test_scopes_in_words(scope: str, meaning: str) -> None:
    assert pages().in_words([scope]) == [(scope, meaning)]


def test_an_error_page_never_tells_a_disabled_client_from_an_unknown_one() -> None:
    unknown, disabled = (
        pages().error(reason, "x", status=400).body for reason in (Reason.UNKNOWN_CLIENT, Reason.CLIENT_DISABLED)
    )
    assert unknown == disabled


def test_who_comes_too_often_or_too_early_is_told_when_to_come_again() -> None:
    assert header(pages().error(Reason.STORE_UNAVAILABLE, "x", status=503), "Retry-After") == "1"


def test_a_redirect_is_303_and_tells_nobody_where_it_came_from() -> None:
    reply = see_other("https://app.example/cb?code=c")
    assert (reply.status, reply.body) == (303, b"")
    assert {("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")} <= set(reply.headers)


def test_our_own_templates_have_no_fault() -> None:
    assert template_fault(TEMPLATES) is None
    assert not re.search(r"style=|<script|https?://|javascript:", "".join(p.read_text() for p in TEMPLATES.iterdir()))
