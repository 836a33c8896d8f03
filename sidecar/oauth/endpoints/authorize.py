"""`GET` and `POST /oauth/authorize` (RFC 6749 sections 4.1 and 4.2): a client sends a browser here, the user logs in and
consents, and the browser returns to the client with a code or a token.

The authorization request stays in the URL of the sidecar's pages, and the forms are submitted to that same URL. So the sidecar
keeps no state before the user has logged in, and going back, reloading and a second tab work as expected.

    GET  ──► not logged in: the login page      POST step=login    ──► 303 to the same URL, with a session
         ──► no consent:    the consent page    POST step=consent  ──► 303 to the client
         ──► 303 to the client

When the client and its redirect URI are valid, errors are sent to the client. When they are not, the user sees an error page
(400).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from sidecar.core.events import EventHandler, LoginFailed, TokenIssued, UserLoggedIn
from sidecar.core.oauth.authorization import (
    AuthorizationError,
    AuthorizationRequest,
    RedirectTarget,
    find_target,
    read_request,
    response_uri,
    scope_for,
)
from sidecar.core.oauth.clients import ClientRegistry
from sidecar.core.oauth.grants import IMPLICIT
from sidecar.core.oauth.redirects import source_of
from sidecar.core.oauth.users import User, UserDirectory
from sidecar.core.ports import StoreUnavailable
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, with_retry_after
from sidecar.core.tokens import TokenRules
from sidecar.oauth.answering import answer
from sidecar.oauth.grants.authorization_code import AuthorizationCodes
from sidecar.oauth.login.consents import Consents, may_be_remembered
from sidecar.oauth.login.pages import Pages, see_other
from sidecar.oauth.login.passwords import Logins
from sidecar.oauth.login.sessions import Sessions, csrf_token, is_csrf_token
from sidecar.oauth.parameters import Parameters, form_parameters, query_parameters

_LONGEST_QUERY: Final = 6000  # characters, when a request that was sent as a form is redirected to a URL
_STALE: Final = "This page was too old. Please try again."


class Visit(NamedTuple):
    """A valid authorization request, and the user at the browser, if one is logged in. `cookie` is the browser's login cookie;
    `new`: the reply has to set it. `page` is the path and query of the sidecar's page."""

    request: EndpointRequest
    parameters: Parameters
    authorization: AuthorizationRequest
    cookie: str
    new: bool
    user: User | None

    @property
    def page(self) -> str:
        return f"{self.request.path}?{self.request.query}"


class Browser(NamedTuple):
    """The parts that serve a user at a browser."""

    users: UserDirectory
    sessions: Sessions
    logins: Logins
    consents: Consents
    pages: Pages


class AuthorizeEndpoint:
    """Call it with a request. `tapdata`: accept TapData's older form of an implicit request. `new_id` gives an unguessable
    `jti`."""

    def __init__(
        self,
        clients: ClientRegistry,
        browser: Browser,
        *,
        codes: AuthorizationCodes,
        rules: TokenRules,
        tapdata: bool,
        emit: EventHandler,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._clients = clients
        self._users, self._sessions, self._logins, self._consents, self._pages = browser
        self._codes = codes
        self._rules = rules
        self._tapdata = tapdata
        self._emit = emit
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, request: EndpointRequest) -> Reply:
        """A page, or a redirect."""
        return await answer(request, self._answer, methods=("GET", "POST"), refusing=self._pages)

    async def _answer(self, request: EndpointRequest) -> Reply:
        form = form_parameters(request) if request.method == "POST" else {}
        if request.method == "POST" and "step" not in form:
            return _as_get(request, form)
        parameters = query_parameters(request.query)
        target = find_target(parameters, self._clients)
        try:
            visit = await self._visit(request, parameters, read_request(parameters, target, tapdata=self._tapdata))
            if request.method == "POST":
                return await self._submitted(visit, form)
            return await self._shown(visit)
        except AuthorizationError as exc:
            return self._tell_client(parameters, target, exc)
        except StoreUnavailable:
            reply = self._pages.unavailable(target.client.client_id)
            return self._not_logged_in(request, form, reply) if form.get("step") == "login" else reply

    async def _visit(
        self, request: EndpointRequest, parameters: Parameters, authorization: AuthorizationRequest
    ) -> Visit:
        cookie = self._sessions.cookie(request)
        session = await self._sessions.read(cookie)
        user = self._users.find(session.username) if session else None
        known = user if session and session.belongs_to(user) else None
        return Visit(request, parameters, authorization, cookie or self._sessions.new_cookie(), cookie is None, known)

    # The pages of a GET.

    async def _shown(self, visit: Visit, notice: str = "", reason: Reason | None = None) -> Reply:
        authorization, user = visit.authorization, visit.user
        if user is None or "login" in authorization.prompt:
            if "none" in authorization.prompt:
                raise _required(Reason.LOGIN_REQUIRED)
            return self._login_page(visit, notice=notice, reason=reason)
        target, scope = authorization.target, scope_for(user, authorization.scope)
        agreed = await self._consents.covers(user.username, target.client, target.redirect_uri, scope)
        if agreed and "consent" not in authorization.prompt and not notice:
            return await self._grant(visit, user, scope)
        if "none" in authorization.prompt:
            raise _required(Reason.CONSENT_REQUIRED, user)
        return self._consent_page(visit, user, scope, notice, reason)

    def _login_page(self, visit: Visit, *, notice: str, reason: Reason | None, username: str = "") -> Reply:
        return self._page(visit, "login.html", reason, notice=notice, username=username)

    def _consent_page(
        self, visit: Visit, user: User, scope: tuple[str, ...], notice: str, reason: Reason | None
    ) -> Reply:
        target = visit.authorization.target
        return self._page(
            visit,
            "consent.html",
            reason,
            notice=notice,
            username=user.username,
            scopes=self._pages.in_words(scope),
            rememberable=may_be_remembered(target.client, target.redirect_uri),
            other_account=_with_prompt(visit, "login"),
        )

    def _page(self, visit: Visit, template: str, reason: Reason | None, **values: object) -> Reply:
        target = visit.authorization.target
        client, parts = target.client, urlsplit(target.redirect_uri)
        return self._pages.render(
            template,
            *((self._sessions.set_cookie(visit.cookie),) if visit.new else ()),
            status=reason.status if reason else 200,
            reason=reason,
            client_id=client.client_id,
            user=visit.user.username if visit.user else None,
            leads_to=(source_of(target.redirect_uri),),
            client_name=client.client_name or client.client_id,
            destination=parts.netloc if parts.scheme in ("https", "http") else "",
            csrf=csrf_token(visit.cookie, visit.page),
            **values,
        )

    # The forms of a POST.

    async def _submitted(self, visit: Visit, form: Parameters) -> Reply:
        cookie = None if visit.new else visit.cookie
        if not is_csrf_token(form.get("csrf", ""), cookie, visit.page):
            reply = await self._shown(visit, _STALE, Reason.STALE_FORM)
            return self._not_logged_in(visit.request, form, reply) if form["step"] == "login" else reply
        if form["step"] == "login":
            return await self._log_in(visit, form)
        if visit.user is None:
            return see_other(f"?{visit.request.query}")  # the session ended while the page was open
        if form["step"] != "consent" or form.get("decision") not in ("allow", "deny"):
            raise Refused(Reason.INVALID_REQUEST, client_id=visit.authorization.target.client.client_id)
        return await self._decide(visit, visit.user, form)

    async def _log_in(self, visit: Visit, form: Parameters) -> Reply:
        username = form.get("username", "")
        try:
            user = await self._logins.check(username, form.get("password", ""), visit.request.peer)
        except Refused as exc:
            page = self._login_page(visit, notice=exc.detail, username=username, reason=exc.reason)
            return self._not_logged_in(visit.request, form, with_retry_after(page, exc.retry_after))
        cookie = await self._sessions.open(user, visit.cookie)
        self._emit(UserLoggedIn(user.username, visit.authorization.target.client.client_id, visit.request.peer))
        return see_other(_with_prompt(visit, None), self._sessions.set_cookie(cookie))

    def _not_logged_in(self, request: EndpointRequest, form: Parameters, reply: Reply) -> Reply:
        """Emit `LoginFailed` with the reason of this reply; the access log then leaves the reply out."""
        if reply.reason is None:
            return reply
        user = self._users.name(form.get("username", ""))
        self._emit(LoginFailed(reply.reason, user, reply.client_id, request.peer))
        return reply._replace(told=True)

    async def _decide(self, visit: Visit, user: User, form: Parameters) -> Reply:
        scope = scope_for(user, visit.authorization.scope)
        if form["decision"] == "deny":
            raise _required(Reason.ACCESS_DENIED, user)
        if "remember" in form:
            target = visit.authorization.target
            await self._consents.remember(user.username, target.client, target.redirect_uri, scope)
        return await self._grant(visit, user, scope)

    # The response to the client.

    async def _grant(self, visit: Visit, user: User, scope: tuple[str, ...]) -> Reply:
        authorization = visit.authorization
        if authorization.response_type == "code":
            answer = {"code": await self._codes.issue(authorization, user.username, scope)}
        else:
            answer = self._implicit(authorization.target, user, scope)
        location = response_uri(visit.parameters, authorization.target.redirect_uri, answer, self._rules.issuer)
        return see_other(location, client_id=authorization.target.client.client_id, user=user.username)

    def _implicit(self, target: RedirectTarget, user: User, scope: tuple[str, ...]) -> dict[str, str]:
        """The response of RFC 6749 section 4.2.2. It never has a refresh token."""
        client_id = target.client.client_id
        signed, token = self._rules.issue(
            client_id=client_id,
            subject=user.username,
            roles=user.roles,
            scope=scope,
            now=self._clock(),
            jti=self._new_id(),
        )
        self._emit(TokenIssued(IMPLICIT, client_id, token.jti, user.username))
        return {
            "access_token": signed,
            "token_type": "Bearer",
            "expires_in": str(token.exp - token.iat),
            "scope": " ".join(scope),
        }

    def _tell_client(self, parameters: Mapping[str, str], target: RedirectTarget, error: AuthorizationError) -> Reply:
        answer = {"error": error.error, "error_description": error.description}
        location = response_uri(parameters, target.redirect_uri, answer, self._rules.issuer)
        return see_other(location, reason=error.reason, client_id=target.client.client_id, user=error.user)


def _required(reason: Reason, user: User | None = None) -> AuthorizationError:
    return AuthorizationError(reason, reason.error, reason.sentence, user=user.username if user else None)


_NEVER_IN_A_URL: Final = frozenset(
    ["password", "client_secret", "client_assertion", "code_verifier", "refresh_token", "access_token", "code"]
)


def _as_get(request: EndpointRequest, form: Parameters) -> Reply:
    """Redirect a request that a client sent as a form (RFC 6749 section 3.1): the browser sends the cookie with a GET only."""
    query = urlencode({name: value for name, value in form.items() if name not in _NEVER_IN_A_URL})
    if request.query or len(query) > _LONGEST_QUERY:
        raise Refused(Reason.INVALID_REQUEST, "The parameters are too long, or in the URL and in the form.")
    return see_other(f"?{query}")


def _with_prompt(visit: Visit, prompt: str | None) -> str:
    """The URL of the same page with this `prompt`; with `None`, without the prompt to log in again. It is relative, because a
    proxy in front of the sidecar may serve the page at another path."""
    rest = {name: value for name, value in visit.parameters.items() if name != "prompt"}
    kept = prompt or " ".join(sorted(visit.authorization.prompt - {"login", "select_account"}))
    return f"?{urlencode({**rest, 'prompt': kept} if kept else rest)}"
