"""The endpoints of the console on the admin listener.

- `GET /`: the page, the form that asks for the token, or why there is neither.
- `GET /console/events`: the parts of the page that have changed, as server-sent events.
- `GET /console.json`: the same facts for scripts.
- `POST /console/login` and `/console/logout`: begin and end a session.

The headers let no other page frame, read or run anything of it, and no cache keep it.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from aiohttp import web
from pydantic import TypeAdapter

from sidecar.core.http.cookies import CONSOLE, SECURE_CONSOLE
from sidecar.ops.console.access import PROXY_FIELDS, SESSION, Gate, Verdict, Visit
from sidecar.ops.console.facts import Facts, Tally
from sidecar.ops.console.history import BUCKET, History
from sidecar.ops.console.page import TEMPLATES, Page
from sidecar.ops.console.watchers import Watchers

LOGIN: Final = "/console/login"
LOGOUT: Final = "/console/logout"
_LONGEST_FORM: Final = 4096
_TAKEN_WITHIN: Final = 10.0  # seconds for a watcher to take what it was sent
_RETRY: Final = 2000  # milliseconds before a browser connects again
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: browsers would then hide from us which page a form comes from. Other origins get nothing.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES: Final = {"/console.css": "text/css", "/console.js": "text/javascript"}
_FACTS: Final = TypeAdapter(Facts)

Ready = Callable[[], Awaitable[tuple[bool, Mapping[str, str]]]]
"""What `/readyz` says: whether the sidecar is ready, and each check."""


class Source(NamedTuple):
    """Where the console gets what it shows. `facts` calls what it is given, for what `/readyz` says. `tallies` gives the counts
    of each worker by its process id, `token` the token in force. `draining` says whether the process is about to go, and
    `failed` is told of a defect. `history` belongs to the process."""

    facts: Callable[[Ready], Awaitable[Facts]]
    tallies: Callable[[], Awaitable[Mapping[int, Tally]]]
    token: Callable[[], str | None]
    draining: Callable[[], bool]
    failed: Callable[[Exception], None]
    history: History


class Console:
    """The endpoints. `beyond` says whether other machines reach the listener, `monotonic` gives seconds."""

    def __init__(
        self, source: Source, ready: Ready, *, beyond: bool, monotonic: Callable[[], float], every: float = BUCKET
    ) -> None:
        self._source = source
        self._ready = ready
        self._every = every
        self._page = Page()
        self._gate = Gate(
            source.token, beyond=beyond, monotonic=monotonic, new_secret=lambda: secrets.token_urlsafe(32)
        )
        self._watchers = Watchers(self._parts, source.failed)

    def __repr__(self) -> str:
        return f"<Console {self._watchers} {self._gate}>"

    def add_to(self, app: web.Application) -> None:
        """Serve the endpoints, and keep the history while the app runs."""
        app.add_routes(
            [
                web.get("/", self._serve_page),
                web.get("/console/events", self._serve_events, allow_head=False),  # its answer would never end
                web.get("/console.json", self._serve_facts),
                web.post(LOGIN, self._log_in),
                web.post(LOGOUT, self._log_out),
                *(web.get(path, _serve_file) for path in _FILES),
            ]
        )
        app.cleanup_ctx.append(self._sampling)
        app.on_shutdown.append(self._end)

    async def _end(self, _: web.Application) -> None:
        await self._watchers.end()

    async def _sampling(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self._sample(), name="console history")
        yield
        task.cancel()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                self._source.history.add(await self._source.tallies())
            except Exception as exc:  # noqa: BLE001  the next sample has its counts too
                self._source.failed(exc)

    async def _facts(self) -> Facts:
        facts = await self._source.facts(self._ready)
        self._source.history.add({worker.pid: worker.tally for worker in facts.workers})
        return facts

    async def _parts(self) -> Mapping[str, str]:
        facts, history = await self._facts(), self._source.history
        minutes, covered = history.minutes(), history.seconds

        def written() -> Mapping[str, str]:
            return {name: json.dumps(html) for name, html in self._page.parts(facts, minutes, covered=covered).items()}

        # In a thread, because a single worker serves requests in this one: it takes some milliseconds, and more the first time.
        return await asyncio.to_thread(written)

    # The endpoints.

    async def _serve_page(self, request: web.Request) -> web.Response:
        verdict = self._gate.admit(_visit(request))
        if verdict is not Verdict.WELCOME:
            return await self._turned_away(verdict)
        facts, history = await self._facts(), self._source.history
        minutes, covered, asks = history.minutes(), history.seconds, self._gate.asks
        return _html(await asyncio.to_thread(self._page.whole, facts, minutes, covered=covered, asks=asks))

    async def _serve_facts(self, request: web.Request) -> web.Response:
        verdict = self._gate.admit(_visit(request))
        if verdict is not Verdict.WELCOME:
            return _refused(verdict)
        body = _FACTS.dump_json(await self._facts())
        return web.Response(body=body, headers=_HEADERS, content_type="application/json")

    async def _serve_events(self, request: web.Request) -> web.StreamResponse:
        visit = _visit(request)
        verdict = self._gate.admit(visit)
        if verdict is not Verdict.WELCOME:
            return _refused(verdict)
        if self._watchers.full:
            return web.json_response({"error": "too many watch already"}, status=503, headers=_HEADERS)
        response = web.StreamResponse(
            headers={**_HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        async with contextlib.aclosing(self._watchers.states()) as states:
            await self._send(request, response, states, lambda: self._gate.admit(visit) is Verdict.WELCOME)
        return response

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        states: AsyncIterator[Mapping[str, str]],
        admitted: Callable[[], bool],
    ) -> None:
        """Send what has changed, until the watcher is gone, does not read, or may not watch any more."""
        sent: Mapping[str, str] = {}
        first = f"retry: {_RETRY}\n"
        async for state in states:
            if not admitted():
                return
            changed = ", ".join(f'"{name}": {html}' for name, html in state.items() if sent.get(name) != html)
            sent, text = state, f"{first}event: parts\ndata: {{{changed}}}\n\n"
            first = ""
            try:
                async with asyncio.timeout(_TAKEN_WITHIN):
                    await response.write(text.encode())
            except (TimeoutError, ConnectionError):
                if request.transport is not None:
                    request.transport.abort()
                return
            if self._source.draining():
                return  # the browser connects again: to the process that takes over, once there is one

    async def _log_in(self, request: web.Request) -> web.Response:
        body = await _form(request)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
        verdict, secret = self._gate.log_in(_visit(request), given)
        if verdict is not Verdict.WELCOME:
            return await self._turned_away(verdict)
        response = _see_other()
        if secret:
            _set_cookie(response, request, secret, int(SESSION))
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        if not self._gate.log_out(_visit(request)):
            return await self._turned_away(Verdict.FOREIGN)
        response = _see_other()
        _set_cookie(response, request, "", 0)
        return response

    async def _turned_away(self, verdict: Verdict) -> web.Response:
        # In a thread, as in `_parts`: whoever asks first has the templates read, and needs no token for that.
        text = await (
            asyncio.to_thread(self._page.login, verdict.text)
            if verdict.status in (401, 429)
            else asyncio.to_thread(self._page.closed, verdict.text, helped=verdict is not Verdict.FOREIGN)
        )
        return _html(text, status=verdict.status, verdict=verdict)


async def _form(request: web.Request) -> bytes:
    """The body, as far as a form of ours can be long."""
    body = b""
    while len(body) < _LONGEST_FORM and (part := await request.content.read(_LONGEST_FORM)):
        body += part
    return body[:_LONGEST_FORM]


def _visit(request: web.Request) -> Visit:
    headers = request.headers
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return Visit(
        host=headers.get("Host", ""),
        peer=str(peer[0]) if isinstance(peer, tuple) else "",
        session=request.cookies.get(SECURE_CONSOLE) or request.cookies.get(CONSOLE, ""),
        authorization=headers.get("Authorization", ""),
        origin=headers.get("Origin", ""),
        forwarded_host=headers.get("X-Forwarded-Host", ""),
        site=headers.get("Sec-Fetch-Site", ""),
        link=request.method == "GET"
        and request.path == "/"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document",
        proxied=any(name in headers for name in PROXY_FIELDS),
    )


def _html(text: str, *, status: int = 200, verdict: Verdict | None = None) -> web.Response:
    return web.Response(text=text, status=status, headers={**_HEADERS, **_more(verdict)}, content_type="text/html")


def _refused(verdict: Verdict) -> web.Response:
    text = verdict.text or "log in at /, or send the token in admin.token as Authorization: Bearer"
    return web.json_response({"error": text}, status=verdict.status, headers={**_HEADERS, **_more(verdict)})


def _more(verdict: Verdict | None) -> dict[str, str]:
    if verdict in (Verdict.ASK, Verdict.WRONG):
        return {"WWW-Authenticate": 'Bearer realm="sidecar console"'}
    return {"Retry-After": "60"} if verdict is Verdict.THROTTLED else {}


def _see_other() -> web.Response:
    return web.Response(status=303, headers={**_HEADERS, "Location": "/"})


def _set_cookie(response: web.Response, request: web.Request, secret: str, seconds: int) -> None:
    # The listener speaks plain HTTP. A proxy in front may speak TLS, and then the browser says so itself.
    secure = request.headers.get("Origin", "").startswith("https://")
    response.set_cookie(
        SECURE_CONSOLE if secure else CONSOLE,
        secret,
        max_age=seconds,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )


async def _serve_file(request: web.Request) -> web.Response:
    body = (TEMPLATES / request.path.removeprefix("/")).read_bytes()
    return web.Response(body=body, headers=_HEADERS, content_type=_FILES[request.path], charset="utf-8")
