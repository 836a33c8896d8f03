"""`/oauth/logout`: a GET shows who is logged in and a button; a POST ends the session. The tokens of clients stay valid."""

from sidecar.core.events import EventHandler, LogoutFailed, UserLoggedOut
from sidecar.core.reasons import Reason
from sidecar.core.replies import EndpointRequest, Reply
from sidecar.oauth.answering import answer
from sidecar.oauth.login.pages import Pages
from sidecar.oauth.login.sessions import Sessions, csrf_token, is_csrf_token
from sidecar.oauth.parameters import form_parameters


class LogoutEndpoint:
    """Call it with a request."""

    def __init__(self, *, sessions: Sessions, pages: Pages, emit: EventHandler) -> None:
        self._sessions = sessions
        self._pages = pages
        self._emit = emit

    async def __call__(self, request: EndpointRequest) -> Reply:
        """A page."""
        reply = await answer(request, self._answer, methods=("GET", "POST"), refusing=self._pages)
        if request.method != "POST" or reply.reason is None:
            return reply
        self._emit(LogoutFailed(reply.reason, reply.user, request.peer))
        return reply._replace(told=True)

    async def _answer(self, request: EndpointRequest) -> Reply:
        return await (self._log_out(request) if request.method == "POST" else self._ask(request))

    async def _ask(self, request: EndpointRequest, reason: Reason | None = None) -> Reply:
        cookie = self._sessions.cookie(request)
        session = await self._sessions.read(cookie)
        if cookie is None or session is None:
            return self._pages.render("signed_out.html")
        return self._pages.render(
            "logout.html",
            status=reason.status if reason else 200,
            reason=reason,
            user=session.username,
            username=session.username,
            csrf=csrf_token(cookie, request.path),
            notice=reason.sentence if reason else "",
        )

    async def _log_out(self, request: EndpointRequest) -> Reply:
        cookie = self._sessions.cookie(request)
        if not is_csrf_token(form_parameters(request).get("csrf", ""), cookie, request.path):
            return await self._ask(request, Reason.STALE_FORM)
        username = await self._sessions.end(cookie)
        if username is not None:
            self._emit(UserLoggedOut(username, request.peer))
        return self._pages.render("signed_out.html", self._sessions.clear_cookie())
