"""The admission of a request: `Gateway.handle` reads as the list of its phases.

normalise the path → match the route → one method? → find the credential → verify → revoked? → permit? → forward → (report,
at the end)

Everything is decided from memory. A request whose token may stand in its body is the one case that has to wait: the body
is read, within bounds, and the phases go on from there.
"""

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Final, NamedTuple

from sidecar.core import credentials
from sidecar.core.cross_origin import Fields, Sharing
from sidecar.core.events import Decision
from sidecar.core.headers import Kinds, RequestHeaders, client_address, forwarded_block, read_request_headers
from sidecar.core.paths import Target, split_target
from sidecar.core.policy import Access, Route, RoutePolicy
from sidecar.core.reasons import Plane, Reason, Refused
from sidecar.core.replies import Endpoint, EndpointRequest, refusal
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken, TokenRules
from sidecar.proxy.connection import RequestBroken
from sidecar.proxy.exchange import BodyTooLarge, Exchange
from sidecar.proxy.token_cache import TokenCache, Verified

_ENDPOINT_BODY: Final = 64 * 1024
_MOST_ROUTED: Final = 4096
# In Python 3.11 a member of an enumeration is looked up by a function, each time.
_TOKEN, _ADMITTED = Access.TOKEN, Decision.ADMITTED
_KEPT_OUT: Final = (Plane.PROTECTED, Plane.REQUEST)  # where a refusal says that nothing was let through
_FOR_GOOD: Final = frozenset(
    [
        Reason.MISSING_TOKEN,
        Reason.MALFORMED_TOKEN,
        Reason.BAD_SIGNATURE,
        Reason.EXPIRED,
        Reason.WRONG_ISSUER,
        Reason.WRONG_AUDIENCE,
        Reason.WRONG_TYPE,
    ]
)
_LONGEST_ROUTED: Final = 256
_FORM: Final = "application/x-www-form-urlencoded"


class CredentialRules(NamedTuple):
    """Where tokens are looked for (`bearer`, `header`, `query`, `body`), and up to which size of a body, in bytes."""

    places: Set[str]
    body_limit: int


class Routed(NamedTuple):
    """A request target, and the route that decides about it. `line` is the request line that goes on, for a target of
    nothing but a path over HTTP/1.1."""

    target: Target
    route: Route
    line: bytes | None


class Credential(NamedTuple):
    """What was found: the token, and the query as it goes on."""

    token: str | None
    query: str | None


class Gateway:
    """Decides about every request of a worker. `sharing`: what pages of other origins may read, by the path of an endpoint.
    `disabled`: the clients whose tokens are refused, valid or not."""

    def __init__(
        self,
        *,
        policy: RoutePolicy,
        endpoints: Mapping[str, Endpoint],
        sharing: Mapping[str, Sharing],
        rules: TokenRules,
        cache: TokenCache,
        view: RevocationView,
        disabled: Set[str],
        credential_rules: CredentialRules,
        kinds: Kinds,
        realm: str,
        default_host: bytes,
        host: bytes | None,
        switching: set[Exchange],
        most_tunnels: int,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        log_failure: Callable[[str, Exception], None],
    ) -> None:
        self._policy = policy
        self._endpoints = endpoints
        self._sharing = sharing
        self._rules = rules
        self._cache = cache
        self._view = view
        self._disabled = disabled
        self._places = credential_rules.places
        self._everywhere = {"bearer", "header"} <= credential_rules.places
        self._body_limit = credential_rules.body_limit
        self._kinds = kinds
        self._routed: dict[tuple[str, str], Routed] = {}
        self._realm = realm
        self._default_host = default_host
        self._host = host
        self._switching = switching
        self._most_tunnels = most_tunnels
        self._now = now
        self._monotonic = monotonic
        self._log_failure = log_failure

    def handle(self, exchange: Exchange) -> None:
        """Answer the request, or start to. Never raises."""
        line = None
        try:
            if self._decide_again(exchange):
                return
            target, route, line = self._route(exchange)
            headers = self._read_headers(exchange, target)
            if headers.methods:
                self._check_method(exchange, target, headers)
            if route.access is Access.LOCAL:
                self._answer_locally(exchange, route, target, headers)
            elif route.access is Access.DENY:
                raise self._closed(exchange, target, headers)
            elif route.access is Access.PUBLIC:
                self._forward_public(exchange, target, headers)
            else:
                found = self._find_credential(target, headers)
                if found.token is None and self._body_may_hold_token(exchange, headers):
                    self._read_body(exchange, partial(self._admit_by_body, exchange, route, target, headers))
                    return
                verified = self._admit(found.token, route)
                self._forward(exchange, target.path, found.query, headers, verified)
                if line is not None:
                    self._remember(exchange, verified, None)
        except Refused as exc:
            if line is not None:
                self._remember(exchange, None, exc)
            self._refuse(exchange, exc)
        except Exception as exc:  # noqa: BLE001  a defect of ours must not admit, nor take the worker down
            self._log_failure("gateway", exc)
            exchange.refuse(Reason.INTERNAL)

    def turn_away(self, exchange: Exchange) -> None:
        """Refuse a request, of which nothing was looked at yet: there are too many."""
        if not self._share(exchange, exchange.message.path.partition("?")[0]):
            exchange.refuse(Reason.OVERLOADED)

    # A head that repeats the one before.

    def _decide_again(self, exchange: Exchange) -> bool:
        """Decide about a request that repeats the head of one before: what was found out about that holds, but for what
        time, the store and the route change. Whether it is decided; if not, the phases say what is wrong."""
        message, memo = exchange.message, exchange.connection.memo
        if memo.again is not message.raw_headers or memo.generation != self._cache.generation:
            return False
        routed = self._routed.get((message.method, message.path))
        if routed is None or routed.line is None or routed.route.access is not _TOKEN:
            return False
        exchange.path = routed.target.path
        verified = memo.admitted
        if verified is None:
            if memo.refused is None:
                return False
            exchange.respond(memo.refused)
            return True
        if (
            self._now() >= verified.exp + self._rules.leeway
            or verified.jti in self._view
            or (self._view.cutoffs and self._cut_off(verified))
            or not self._view.usable(exchange.started)
            or not routed.route.scope <= verified.scope
        ):
            return False
        self._cache.hits += 1
        exchange.decision = _ADMITTED
        exchange.client_id = verified.client_id
        exchange.verified = verified
        exchange.forward(routed.line + memo.block + b"\r\n")
        return True

    def _remember(self, exchange: Exchange, verified: Verified | None, refused: Refused | None) -> None:
        """Keep what a head alone has decided: its token is good, or never will be, or there is none. For targets without a
        query, and heads without a body, which could both hold a token; and not for heads that ask for another method, about
        which each path decides anew."""
        message, memo = exchange.message, exchange.connection.memo
        headers = memo.headers
        if headers is None or memo.raw != (message.version, message.raw_headers):
            return
        if headers.framing or headers.upgrade or headers.expects_continue or headers.methods:
            return
        memo.generation = self._cache.generation
        if verified is not None:
            memo.again, memo.admitted, memo.refused = message.raw_headers, verified, None
        elif refused is not None and refused.reason in _FOR_GOOD:
            reply = refusal(
                refused.reason,
                refused.detail,
                *self._challenge(refused),
                client_id=refused.client_id,
                user=refused.user,
            )
            memo.again, memo.admitted, memo.refused = message.raw_headers, None, reply

    # The phases.

    def _route(self, exchange: Exchange) -> Routed:
        """What the request asks for, and the rule for it. Answers are remembered, within bounds, since targets repeat."""
        message = exchange.message
        key = (message.method, message.path)
        routed = self._routed.get(key) if message.version == (1, 1) else None
        if routed is None:
            target = self._read_target(exchange)
            plain = target.query is None and target.authority is None and message.version == (1, 1)
            line = _request_line(exchange, target.path, None) if plain else None
            routed = Routed(target, self._policy.decide(message.method, target.path), line)
            if plain and len(message.path) <= _LONGEST_ROUTED:  # a query varies, and may hold a token
                if len(self._routed) >= _MOST_ROUTED:
                    self._routed.clear()  # somebody walks random paths: start again, never grow
                self._routed[key] = routed
        else:
            exchange.path = routed.target.path
        return routed

    @staticmethod
    def _read_target(exchange: Exchange) -> Target:
        message = exchange.message
        if message.method == "CONNECT":
            raise Refused(Reason.METHOD_NOT_ALLOWED, "This is not a forward proxy.")
        if message.version not in ((1, 1), (1, 0)):
            raise Refused(Reason.MALFORMED_REQUEST, "The HTTP version is not supported.")
        target = split_target(message.path, message.method)
        exchange.path = target.path
        return target

    def _read_headers(self, exchange: Exchange, target: Target, *, strip: bool = True) -> RequestHeaders:
        message, memo = exchange.message, exchange.connection.memo
        plain = strip and target.authority is None
        if plain and memo.headers is not None and memo.raw == (message.version, message.raw_headers):
            headers = memo.headers
        else:
            headers = read_request_headers(
                message.raw_headers,
                kinds=self._kinds,
                http_1_0=message.version == (1, 0),
                chunked=bool(message.chunked),
                authority=target.authority,
                default_host=self._default_host,
                host=self._host,
                strip=strip,
            )
            if plain:
                memo.raw, memo.headers = (message.version, message.raw_headers), headers
                memo.verified = memo.again = None
        exchange.expects_continue = headers.expects_continue
        exchange.trailer_names = headers.trailers
        return headers

    def _check_method(self, exchange: Exchange, target: Target, headers: RequestHeaders) -> None:
        """Raises `Refused` when a header asks for a method that another rule holds for."""
        if not self._policy.decides_alike(exchange.message.method, headers.methods, target.path):
            raise Refused(Reason.AMBIGUOUS_METHOD)

    def _find_credential(self, target: Target, headers: RequestHeaders) -> Credential:
        tokens = headers.tokens
        if self._everywhere and len(tokens) == 1 and not target.query:
            return Credential(tokens[0], target.query)
        if "bearer" not in self._places:
            tokens = tokens[headers.bearer :]
        if "header" not in self._places:
            tokens = tokens[: len(tokens) - (len(headers.tokens) - headers.bearer)]
        query = target.query
        if query:
            found = credentials.from_pairs(query)
            query = found.rest or (None if found.tokens else found.rest)
            if "query" in self._places:
                tokens += found.tokens
        if len(tokens) > 1 and len(set(tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        return Credential(tokens[0] if tokens else None, query)

    def _admit(self, token: str | None, route: Route) -> Verified:
        """Raises `Refused` unless the token may use the route, now."""
        if token is None:
            raise Refused(Reason.MISSING_TOKEN)
        now = self._now()
        verified = self._cache.get(token)
        if verified is None:
            access = self._rules.verify(token, now)
            if access.client_id in self._disabled:  # here alone, for it does not change while we run
                raise _refused(Reason.PROTECTED_CLIENT_DISABLED, access)
            verified = Verified(access)
            self._cache.add(token, verified)
        elif now >= verified.exp + self._rules.leeway:
            self._cache.discard(token)
            raise _refused(Reason.EXPIRED, verified.token)
        if verified.jti in self._view or (self._view.cutoffs and self._cut_off(verified)):
            raise _refused(Reason.REVOKED, verified.token)
        if not self._view.usable(self._monotonic()):
            raise _refused(Reason.STORE_UNAVAILABLE, verified.token)
        if not route.scope <= verified.scope:
            detail = f"This route needs the scope {' '.join(sorted(route.scope))}."
            raise _refused(Reason.INSUFFICIENT_SCOPE, verified.token, detail)
        return verified

    def _closed(self, exchange: Exchange, target: Target, headers: RequestHeaders) -> Refused:
        """The refusal of a closed route, which says whose token came along as far as the signature is good."""
        reason = Reason.DENIED_BY_ROUTE
        try:
            token = self._find_credential(target, headers).token
            if token is None and self._body_may_hold_token(exchange, headers):
                token = self._token_that_came(exchange, headers)
            return _refused(reason, self._rules.verify(token, self._now())) if token else Refused(reason)
        except Refused as exc:
            return Refused(reason, client_id=exc.client_id, user=exc.user)

    def _token_that_came(self, exchange: Exchange, headers: RequestHeaders) -> str | None:
        """The token of a body that came with its head: no closed route waits for more of it."""
        payload = exchange.payload
        if not payload.is_eof() or payload.exception() is not None or payload.total_bytes > self._body_limit:
            return None
        found = _token_in_body(payload.read_nowait(), headers).tokens
        return found[0] if len(set(found)) == 1 else None

    def _forward(
        self,
        exchange: Exchange,
        path: str,
        query: str | None,
        headers: RequestHeaders,
        verified: Verified,
        body: bytes | None = None,
    ) -> None:
        exchange.decision = Decision.ADMITTED
        exchange.client_id = verified.client_id
        exchange.verified = verified
        memo = exchange.connection.memo
        if body is not None or memo.headers is not headers:
            fields = headers.block if body is None else headers.resized(len(body))
            block = fields + self._forwarded(exchange, headers) + verified.identity
        elif memo.verified is verified:
            block = memo.block
        else:
            block = memo.block = headers.block + self._forwarded(exchange, headers) + verified.identity
            memo.verified = verified
            memo.again = None  # it held for another block
        if headers.upgrade:
            block += self._upgrade(exchange, headers)
        exchange.forward(_request_line(exchange, path, query) + block + b"\r\n", body)

    # Routes that need no token.

    def _forward_public(self, exchange: Exchange, target: Target, headers: RequestHeaders) -> None:
        """Nobody is identified. A token of ours is taken away all the same; what is not ours is the API's business."""
        if self._body_may_hold_token(exchange, headers) and not self._streams(exchange):
            self._read_body(exchange, partial(self._forward_without_ours, exchange, target, headers))
        else:
            self._forward_without_ours(exchange, target, headers, None)

    def _forward_without_ours(
        self, exchange: Exchange, target: Target, headers: RequestHeaders, body: bytes | None
    ) -> None:
        found = credentials.from_pairs(target.query or "")
        query = found.rest or None if self._any_ours(found.tokens) else target.query
        if body is not None:
            found = _token_in_body(body, headers)
            body = found.rest.encode("latin-1") if self._any_ours(found.tokens) else body
        if headers.tokens and not self._any_ours(headers.tokens):
            headers = self._read_headers(exchange, target, strip=False)
        exchange.decision = Decision.PUBLIC
        fields = headers.block if body is None else headers.resized(len(body))
        block = fields + self._forwarded(exchange, headers)
        if headers.upgrade:
            block += self._upgrade(exchange, headers)
        exchange.forward(_request_line(exchange, target.path, query) + block + b"\r\n", body)

    def _any_ours(self, tokens: tuple[str, ...]) -> bool:
        return any(map(self._rules.recognises, tokens))

    def _answer_locally(self, exchange: Exchange, route: Route, target: Target, headers: RequestHeaders) -> None:
        exchange.decision = Decision.LOCAL
        endpoint = self._endpoints[route.path]
        if self._share(exchange, route.path):
            return
        raw = _fields(exchange)
        connection = exchange.connection
        sender = client_address(headers.forwarded, peer=connection.peer, trusts=connection.listener.trusts)

        async def answer() -> None:
            try:
                body = await exchange.read_body(_ENDPOINT_BODY)
                request = EndpointRequest(exchange.message.method, target.path, target.query or "", raw, body, sender)
                exchange.respond(await endpoint(request))
            except Refused as exc:
                self._refuse(exchange, exc)
            except BodyTooLarge:
                exchange.refuse(Reason.BODY_TOO_LARGE)
            except RequestBroken:
                exchange.refuse(Reason.MALFORMED_REQUEST)
            except Exception as exc:  # noqa: BLE001  a defect of ours must not take the connection's task down unseen
                self._log_failure("endpoint", exc)
                exchange.refuse(Reason.INTERNAL)

        exchange.await_body()
        exchange.task = exchange.connection.loop.create_task(answer())

    def _share(self, exchange: Exchange, path: str) -> bool:
        """Let a page read what is answered at `path`, if it may. Whether all is said: its browser was asking."""
        sharing = self._sharing.get(path)
        if sharing is None:
            return False
        headers = _fields(exchange)
        exchange.shared = sharing.fields(headers)
        preflight = sharing.preflight(exchange.message.method, headers)
        if preflight is not None:
            exchange.decision = Decision.LOCAL
            exchange.respond(preflight)
        return preflight is not None

    # A token in the body.

    def _body_may_hold_token(self, exchange: Exchange, headers: RequestHeaders) -> bool:
        """Only a form or JSON, not compressed; and never when the client waits for 100: it is refused without one."""
        if "body" not in self._places or not headers.framing or headers.content_coded or headers.expects_continue:
            return False
        length = exchange.connection.declared_length(exchange.message)
        return (length is None or 0 < length <= self._body_limit) and _media_type(headers) is not None

    def _streams(self, exchange: Exchange) -> bool:
        """Whether a body has no length, and is not all here or too much to look through: it may go on for as long as it
        likes."""
        payload = exchange.payload
        return bool(exchange.message.chunked) and (not payload.is_eof() or payload.total_bytes > self._body_limit)

    def _read_body(self, exchange: Exchange, go_on: Callable[[bytes], None]) -> None:
        """Go on with the body of a request, when that is here. Raises `Refused` when too many wait for theirs."""
        exchange.await_body()
        exchange.task = exchange.connection.loop.create_task(self._go_on_with_body(exchange, go_on))

    async def _go_on_with_body(self, exchange: Exchange, go_on: Callable[[bytes], None]) -> None:
        try:
            go_on(await exchange.read_body(self._body_limit))
        except Refused as exc:
            self._refuse(exchange, exc)
        except BodyTooLarge:
            self._refuse(exchange, Refused(Reason.MISSING_TOKEN))
        except RequestBroken:
            exchange.refuse(Reason.MALFORMED_REQUEST)
        except Exception as exc:  # noqa: BLE001  see handle
            self._log_failure("gateway", exc)
            exchange.refuse(Reason.INTERNAL)

    def _admit_by_body(
        self, exchange: Exchange, route: Route, target: Target, headers: RequestHeaders, body: bytes
    ) -> None:
        found = _token_in_body(body, headers)
        if len(set(found.tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        verified = self._admit(found.tokens[0] if found.tokens else None, route)
        query = self._find_credential(target, headers).query
        self._forward(exchange, target.path, query, headers, verified, found.rest.encode("latin-1"))

    # What is long.

    def _upgrade(self, exchange: Exchange, headers: RequestHeaders) -> bytes:
        """Ask the upstream to switch, if the request can: without a body there is no doubt where the tunnel begins."""
        message = exchange.message
        plain = message.upgrade and message.version == (1, 1) and not headers.framing and not headers.expects_continue
        if not plain or exchange.connection.spoke_early:
            return b""
        if len(self._switching) >= self._most_tunnels:
            raise Refused(Reason.OVERLOADED, "There are too many tunnels; try again.")
        exchange.upgrade = headers.upgrade
        self._switching.add(exchange)  # from now on: the answers to any number of them may come at the same time
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n" % headers.upgrade

    def lapsed(self, verified: Verified) -> Reason | None:
        """Why a token that was admitted would be refused now."""
        if self._now() >= verified.exp + self._rules.leeway:
            return Reason.EXPIRED
        if not self._rules.trusts(verified.token.kid):
            return Reason.UNKNOWN_KEY
        return Reason.REVOKED if verified.jti in self._view or self._cut_off(verified) else None

    def _cut_off(self, verified: Verified) -> bool:
        """Whether all that was issued so early has ended."""
        token = verified.token
        return self._view.cut_off(token.client_id, token.sub, token.iat)

    # Helpers.

    def _forwarded(self, exchange: Exchange, headers: RequestHeaders) -> bytes:
        connection = exchange.connection
        return forwarded_block(
            headers.forwarded,
            trusted=connection.trusted,
            peer=connection.peer,
            scheme=connection.scheme,
            host=headers.host,
            certificate=connection.certificate,
        )

    def _refuse(self, exchange: Exchange, refused: Refused) -> None:
        reason = refused.reason
        if exchange.decision is not Decision.LOCAL and reason.plane in _KEPT_OUT:
            exchange.decision = Decision.REFUSED
        exchange.client_id = refused.client_id or exchange.client_id
        exchange.user = refused.user or exchange.user
        exchange.refuse(reason, refused.detail, *self._challenge(refused))

    def _challenge(self, refused: Refused) -> list[tuple[str, str]]:
        """`WWW-Authenticate` (RFC 6750 section 3): without an error code when no credential was sent."""
        reason = refused.reason
        if reason is Reason.METHOD_NOT_ALLOWED:
            return [("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
        if reason is Reason.MISSING_TOKEN:
            return [("WWW-Authenticate", f'Bearer realm="{self._realm}"')]
        if reason.error not in ("invalid_token", "insufficient_scope") and reason is not Reason.MULTIPLE_TOKENS:
            return []
        challenge = f'Bearer realm="{self._realm}", error="{reason.error}", error_description="{refused.detail}"'
        return [("WWW-Authenticate", challenge)]


def _refused(reason: Reason, token: AccessToken, detail: str | None = None) -> Refused:
    """A refusal that names whose token it was."""
    return Refused(reason, detail, client_id=token.client_id, user=token.user)


def _request_line(exchange: Exchange, path: str, query: str | None) -> bytes:
    method = exchange.message.method
    return (f"{method} {path} HTTP/1.1\r\n" if query is None else f"{method} {path}?{query} HTTP/1.1\r\n").encode()


def _fields(exchange: Exchange) -> Fields:
    return tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in exchange.message.raw_headers)


def _media_type(headers: RequestHeaders) -> str | None:
    """`_FORM`, `json`, or `None` for a body that holds no fields."""
    media_type = headers.content_type.partition(";")[0].strip().lower()
    if media_type == _FORM:
        return _FORM
    return "json" if media_type == "application/json" or media_type.endswith("+json") else None


def _token_in_body(body: bytes, headers: RequestHeaders) -> credentials.Found:
    """latin-1 keeps every byte in its place; a token is ASCII in any encoding that we could meet."""
    text = body.decode("latin-1")
    return credentials.from_pairs(text) if _media_type(headers) == _FORM else credentials.from_json(text)
