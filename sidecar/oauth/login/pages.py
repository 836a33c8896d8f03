"""The pages that a user sees: Jinja2 templates, served with headers that isolate them.

The pages have no scripts, no frames and nothing from other origins: the content security policy allows one style sheet by its
hash, and images that are part of the page. The operator's folder may replace any file of `templates/`, including `style.css`.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import NO_STORE, Reply, shown_word

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
_HEADERS: Final = (
    NO_STORE,
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


class Pages:
    """Renders pages. `folder` has the operator's templates; `site` is the name to show; `scopes` has the meaning of each scope;
    `form_action` are other origins that the response to a form may redirect to."""

    def __init__(
        self, folder: Path | None, *, site: str, scopes: Mapping[str, str], form_action: Iterable[str] = ()
    ) -> None:
        self._folders = folders = ([folder] if folder else []) + [TEMPLATES]
        self._style = style = next(each / "style.css" for each in folders if (each / "style.css").is_file()).read_text(
            "utf-8"
        )
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
        )
        self._form_action = tuple(form_action)
        self._scopes = scopes
        self._site = site

    @cached_property
    def _templates(self) -> "Environment":
        """Created for the first page: a sidecar that serves no browsers saves the memory of Jinja2."""
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  see above
        from markupsafe import Markup  # noqa: PLC0415  it comes with Jinja2

        templates = Environment(
            loader=ChoiceLoader([FileSystemLoader(each) for each in self._folders]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        templates.globals.update(style=Markup(self._style), site=self._site)  # noqa: S704  the operator's file, not input
        return templates

    def render(
        self,
        template: str,
        *headers: tuple[str, str],
        status: int = 200,
        reason: Reason | None = None,
        client_id: str | None = None,
        user: str | None = None,
        leads_to: Iterable[str] = (),
        **values: object,
    ) -> Reply:
        """A page. `leads_to` are the targets that the response to the page's form may redirect to, as sources for
        `form-action`: Chromium applies that directive to the redirect as well."""
        targets = " ".join(dict.fromkeys(["'self'", *leads_to, *(self._form_action if leads_to else ())]))
        policy = ("Content-Security-Policy", f"{self._policy}; form-action {targets}")
        body = self._templates.get_template(template).render(**values)
        retry = (("Retry-After", "1"),) if status in (429, 503) else ()
        return Reply(status, (_HTML, *_HEADERS, policy, *retry, *headers), body.encode(), reason, client_id, user)

    def error(
        self, reason: Reason, detail: str, *headers: tuple[str, str], status: int, client_id: str | None = None
    ) -> Reply:
        """A page that says what went wrong, without links or forms."""
        return self.render(
            "error.html",
            *headers,
            status=status,
            reason=reason,
            client_id=client_id,
            detail=detail,
            code=shown_word(reason),
        )

    def refuse(self, refused: Refused) -> Reply:
        """The page for a refusal. A 401 becomes 400, because a browser cannot authenticate here with an HTTP scheme."""
        status = refused.reason.status if refused.reason.status != 401 else 400
        return self.error(refused.reason, refused.detail, status=status, client_id=refused.client_id)

    def not_allowed(self, methods: tuple[str, ...]) -> Reply:
        """The page for a method other than these."""
        reason = Reason.METHOD_NOT_ALLOWED
        return self.error(reason, reason.sentence, ("Allow", ", ".join(methods)), status=reason.status)

    def unavailable(self, client_id: str | None = None) -> Reply:
        """The page for a store that does not answer."""
        reason = Reason.STORE_UNAVAILABLE
        detail = "A part of this service does not answer. Please try again."
        return self.error(reason, detail, status=reason.status, client_id=client_id)

    def in_words(self, scope: Iterable[str]) -> list[tuple[str, str]]:
        """Each scope with its meaning in words."""
        return [(each, self._scopes.get(each) or _meaning(each)) for each in scope]


_VERBS: Final = {
    "read": "See {}",
    "write": "Create and change {}",
    "create": "Create {}",
    "update": "Change {}",
    "delete": "Delete {}",
    "admin": "Manage {}",
    "manage": "Manage {}",
}


def _meaning(scope: str) -> str:
    """Words for a scope of the usual form, such as `orders:read`; empty for any other."""
    thing, colon, verb = scope.replace(".", ":").rpartition(":")
    words = thing.replace(":", " ").replace("_", " ").replace("-", " ")
    return _VERBS[verb].format(words) if colon and verb in _VERBS and words.strip() else ""


def see_other(
    location: str,
    *headers: tuple[str, str],
    reason: Reason | None = None,
    client_id: str | None = None,
    user: str | None = None,
) -> Reply:
    """303: the browser follows with a GET and does not send the form again (RFC 9700 section 4.12)."""
    fields = (("Location", location), NO_STORE, ("Referrer-Policy", "no-referrer"), *headers)
    return Reply(303, fields, b"", reason, client_id, user)
