"""The admission of a request: `Gateway.handle` reads as the list of its phases.

normalise the path → match the route → one method? → find the credential → verify → admit (`core.admission`) → forward →
(report, at the end)

Everything is decided from memory. A request whose token may stand in its body is the one case that has to wait: the body
is read, within bounds, and the phases go on from there.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from aiohttp import HttpVersion11

from sidecar.core.admission import VerifiedToken, objection
from sidecar.core.events import Decision
from sidecar.core.http import credentials
from sidecar.core.http.cross_origin import Fields
from sidecar.core.http.headers import RequestHeaders, client_address, forwarded_block, read_request_headers
from sidecar.core.http.paths import Target, split_target
from sidecar.core.policy import Access, Route
from sidecar.core.reasons import Plane, Reason, Refused
from sidecar.core.replies import EndpointRequest, Reply, refusal
from sidecar.core.revocations import RevocationView
from sidecar.core.tokens import AccessToken
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.ports import RequestInProgress
from sidecar.proxy.request import BodyTooLarge, RequestBroken, declared_length
from sidecar.proxy.rules import RequestRules, Routed

_ENDPOINT_BODY: Final = 64 * 1024
_MOST_ROUTED: Final = 4096
# In Python 3.11 a member of an enumeration is looked up by a function, each time.
_TOKEN, _ADMITTED = Access.TOKEN, Decision.ADMITTED
_KEPT_OUT: Final = (Plane.PROTECTED, Plane.REQUEST)  # where a refusal says that nothing was let through
# What reading a token ends with, by these rules, whenever it is read.
_FOR_GOOD: Final = frozenset(
    [
        Reason.MISSING_TOKEN,
        Reason.MALFORMED_TOKEN,
        Reason.BAD_SIGNATURE,
        Reason.UNKNOWN_KEY,
        Reason.WRONG_ISSUER,
        Reason.WRONG_AUDIENCE,
        Reason.WRONG_TYPE,
    ]
)
_OF_NO_MORE_USE: Final = frozenset([Reason.EXPIRED, Reason.PROTECTED_CLIENT_DISABLED])
_LONGEST_ROUTED: Final = 256
_FORM: Final = "application/x-www-form-urlencoded"


class Credential(NamedTuple):
    """What was found: the token, and the query as it goes on."""

    token: str | None
    query: str | None


class Gateway:
    """Decides about every request of a worker, by the rules in force: `use` puts others in their place."""

    def __init__(
        self,
        rules: RequestRules,
        *,
        view: RevocationView,
        switching: set[Exchange],
        most_tunnels: int,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        log_failure: Callable[[str, Exception], None],
    ) -> None:
        self._rules = rules
        self._view = view
        self._switching = switching
        self._most_tunnels = most_tunnels
        self._now = now
        self._monotonic = monotonic
        self._log_failure = log_failure

    def use(self, rules: RequestRules) -> None:
        """Decide by these from the next request on."""
        self._rules = rules

    def handle(self, exchange: Exchange) -> None:
        """Answer the request, or start to. Never raises."""
        exchange.rules = rules = self._rules
        try:
            if self._handle_again(exchange, rules):
                return
            routed = self._route(exchange, rules)
            headers = self._read_headers(exchange, rules, routed.target)
            if headers.methods:
                self._check_method(exchange, rules, routed.target, headers)
            access = routed.route.access
            if access is _TOKEN:
                self._handle_protected(exchange, rules, routed, headers)
            elif access is Access.LOCAL:
                self._answer_locally(exchange, rules, routed, headers)
            elif access is Access.PUBLIC:
                self._forward_public(exchange, rules, routed.target, headers)
            else:
                raise self._closed(exchange, rules, routed.target, headers)
        except Refused as exc:
            self._refuse(exchange, exc)
        except Exception as exc:  # noqa: BLE001  a defect of ours must not admit, nor take the worker down
            self._log_failure("gateway", exc)
            exchange.refuse(Reason.INTERNAL)

    def turn_away(self, exchange: Exchange) -> None:
        """Refuse a request, of which nothing was looked at yet: there are too many."""
        exchange.rules = self._rules
        if not self._share(exchange, exchange.message.path.partition("?")[0]):
            exchange.refuse(Reason.OVERLOADED)

    def _handle_again(self, exchange: Exchange, rules: RequestRules) -> bool:
        """Handle a request whose head repeats the one before on its connection, for a target whose route is known: what was
        read then is not read again. Whether it is such a request. What is decided is decided anew."""
        message, memo = exchange.message, exchange.connection.memo
        if memo.again is not message.raw_headers or memo.rules is not rules:
            return False
        routed = rules.routed.get((message.method, message.path))
        if routed is None or routed.line is None or routed.route.access is not _TOKEN:
            return False
        exchange.path = routed.target.path
        verified = memo.token
        if verified is None:
            if memo.unusable is None:
                return False
            exchange.respond(memo.unusable)
            return True
        rules.cache.lookups.hits += 1
        self._admit(exchange, verified, routed.route)
        exchange.decision = _ADMITTED
        exchange.client_id = verified.client_id
        exchange.verified = verified
        exchange.forward(routed.line + memo.block + b"\r\n")
        return True

    # The phases.

    def _route(self, exchange: Exchange, rules: RequestRules) -> Routed:
        """What the request asks for, and the rule for it. Answers are remembered, within bounds, since targets repeat."""
        message = exchange.message
        key = (message.method, message.path)
        routed = rules.routed.get(key) if message.version is HttpVersion11 else None
        if routed is None:
            target = self._read_target(exchange)
            plain = target.query is None and target.authority is None and message.version is HttpVersion11
            line = _request_line(exchange, target.path, None) if plain else None
            routed = Routed(target, rules.policy.decide(message.method, target.path), line)
            if plain and len(message.path) <= _LONGEST_ROUTED:  # a query varies, and may hold a token
                if len(rules.routed) >= _MOST_ROUTED:
                    rules.routed.clear()  # somebody walks random paths: start again, never grow
                rules.routed[key] = routed
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

    def _read_headers(
        self, exchange: Exchange, rules: RequestRules, target: Target, *, strip: bool = True
    ) -> RequestHeaders:
        message, memo = exchange.message, exchange.connection.memo
        plain = strip and target.authority is None
        repeats = memo.raw is message.raw_headers or memo.raw == message.raw_headers
        if plain and repeats and memo.headers is not None and memo.rules is rules and memo.version == message.version:
            headers = memo.headers
        else:
            headers = read_request_headers(
                message.raw_headers,
                kinds=rules.kinds,
                http_1_0=message.version == (1, 0),
                chunked=bool(message.chunked),
                authority=target.authority,
                default_host=rules.host.default,
                host=rules.host.instead,
                strip=strip,
            )
            if plain:
                memo.begin(rules, message.version, message.raw_headers, headers)
        exchange.expects_continue = headers.expects_continue
        exchange.trailer_names = headers.trailers
        return headers

    def _check_method(self, exchange: Exchange, rules: RequestRules, target: Target, headers: RequestHeaders) -> None:
        """Raises `Refused` when a header asks for a method that another rule holds for."""
        if not rules.policy.decides_alike(exchange.message.method, headers.methods, target.path):
            raise Refused(Reason.AMBIGUOUS_METHOD)

    def _handle_protected(
        self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders
    ) -> None:
        """Find the token, verify it, ask the admission rule, forward."""
        target = routed.target
        found = self._find_credential(rules, target, headers)
        if found.token is None and self._body_may_hold_token(exchange, rules, headers):
            self._read_body(exchange, rules, partial(self._admit_by_body, exchange, rules, routed, headers))
            return
        try:
            verified = self._read_token(found.token, rules)
        except Refused as exc:
            if exc.reason in _FOR_GOOD:
                self._remember(exchange, routed, headers, self._reply(exc, rules))
            raise
        self._admit(exchange, verified, routed.route, found.token)
        self._forward(exchange, routed.line, target.path, found.query, headers, verified)
        self._remember(exchange, routed, headers, verified)

    @staticmethod
    def _remember(exchange: Exchange, routed: Routed, headers: RequestHeaders, read: VerifiedToken | Reply) -> None:
        """Keep what was read of a head: its token, or the reply when it has none that could ever be used. Only for targets
        without a query and heads without a body, since both could hold a token; and not for heads that ask for another
        method, about which each path decides anew."""
        memo = exchange.connection.memo
        if memo.headers is not headers or routed.line is None:
            return
        if headers.framing or headers.upgrade or headers.expects_continue or headers.methods:
            return
        memo.again = exchange.message.raw_headers
        memo.token, memo.unusable = (read, None) if isinstance(read, VerifiedToken) else (None, read)

    def _find_credential(self, rules: RequestRules, target: Target, headers: RequestHeaders) -> Credential:
        tokens = headers.tokens
        if rules.credentials.any_header and len(tokens) == 1 and not target.query:
            return Credential(tokens[0], target.query)
        places = rules.credentials.places
        if "bearer" not in places:
            tokens = tokens[headers.bearer :]
        if "header" not in places:
            tokens = tokens[: len(tokens) - (len(headers.tokens) - headers.bearer)]
        query = target.query
        if query:
            found = credentials.from_pairs(query)
            query = found.rest or (None if found.tokens else found.rest)
            if "query" in places:
                tokens += found.tokens
        if len(tokens) > 1 and len(set(tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        return Credential(tokens[0] if tokens else None, query)

    def _read_token(self, token: str | None, rules: RequestRules) -> VerifiedToken:
        """Raises `Refused` unless the token is one of ours."""
        if token is None:
            raise Refused(Reason.MISSING_TOKEN)
        return rules.cache.get(token) or VerifiedToken(rules.tokens.read(token, self._now()))

    def _admit(self, exchange: Exchange, verified: VerifiedToken, route: Route, token: str | None = None) -> None:
        """Raises `Refused` unless the admission rule has no objection. `token` is the text that `verified` was read from: it is
        remembered while it can be of use."""
        rules = exchange.rules
        moment = exchange.started if exchange.task is None else self._monotonic()
        reason = objection(verified, route, rules.admission, self._view, self._now(), moment)
        if token is not None:
            if reason in _OF_NO_MORE_USE:
                rules.cache.discard(token)
            elif token not in rules.cache:
                rules.cache.add(token, verified)
        if reason is not None:
            detail = None
            if reason is Reason.INSUFFICIENT_SCOPE:
                detail = f"This route needs the scope {' '.join(sorted(route.scope))}."
            raise _refused(reason, verified.token, detail)

    def _closed(self, exchange: Exchange, rules: RequestRules, target: Target, headers: RequestHeaders) -> Refused:
        """The refusal of a closed route, which says whose token came along as far as the signature is good."""
        reason = Reason.DENIED_BY_ROUTE
        try:
            token = self._find_credential(rules, target, headers).token
            if token is None and self._body_may_hold_token(exchange, rules, headers):
                token = self._token_that_came(exchange, rules, headers)
            return _refused(reason, rules.tokens.read_signed(token)) if token else Refused(reason)
        except Refused as exc:
            return Refused(reason, client_id=exc.client_id, user=exc.user)

    @staticmethod
    def _token_that_came(exchange: Exchange, rules: RequestRules, headers: RequestHeaders) -> str | None:
        """The token of a body that came with its head: no closed route waits for more of it."""
        payload, limit = exchange.payload, rules.credentials.body_limit
        if not payload.is_eof() or payload.exception() is not None or payload.total_bytes > limit:
            return None
        found = _token_in_body(payload.read_nowait(), headers).tokens
        return found[0] if len(set(found)) == 1 else None

    def _forward(
        self,
        exchange: Exchange,
        line: bytes | None,
        path: str,
        query: str | None,
        headers: RequestHeaders,
        verified: VerifiedToken,
        body: bytes | None = None,
    ) -> None:
        exchange.decision = _ADMITTED
        exchange.client_id = verified.client_id
        exchange.verified = verified
        memo = exchange.connection.memo
        if body is not None or memo.headers is not headers:
            fields = headers.block if body is None else headers.resized(len(body))
            block = fields + self._forwarded(exchange, headers) + verified.identity
        elif memo.block_of is verified:
            block = memo.block
        else:
            block = memo.block = headers.block + self._forwarded(exchange, headers) + verified.identity
            memo.block_of = verified
            memo.again = None  # it is another's block now
        if headers.upgrade:
            block += self._upgrade(exchange, headers)
        exchange.forward((line or _request_line(exchange, path, query)) + block + b"\r\n", body)

    # Routes that need no token.

    def _forward_public(self, exchange: Exchange, rules: RequestRules, target: Target, headers: RequestHeaders) -> None:
        """Nobody is identified. A token of ours is taken away all the same; what is not ours is the API's business."""
        if self._body_may_hold_token(exchange, rules, headers) and not self._streams(exchange, rules):
            self._read_body(exchange, rules, partial(self._forward_without_ours, exchange, rules, target, headers))
        else:
            self._forward_without_ours(exchange, rules, target, headers, None)

    def _forward_without_ours(
        self, exchange: Exchange, rules: RequestRules, target: Target, headers: RequestHeaders, body: bytes | None
    ) -> None:
        ours = rules.tokens.recognises
        found = credentials.from_pairs(target.query or "")
        query = found.rest or None if any(map(ours, found.tokens)) else target.query
        if body is not None:
            found = _token_in_body(body, headers)
            body = found.rest.encode("latin-1") if any(map(ours, found.tokens)) else body
        if headers.tokens and not any(map(ours, headers.tokens)):
            headers = self._read_headers(exchange, rules, target, strip=False)
        exchange.decision = Decision.PUBLIC
        fields = headers.block if body is None else headers.resized(len(body))
        block = fields + self._forwarded(exchange, headers)
        if headers.upgrade:
            block += self._upgrade(exchange, headers)
        exchange.forward(_request_line(exchange, target.path, query) + block + b"\r\n", body)

    def _answer_locally(self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders) -> None:
        exchange.decision = Decision.LOCAL
        target = routed.target
        endpoint = rules.endpoints[routed.route.path]
        if self._share(exchange, routed.route.path):
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

    @staticmethod
    def _share(exchange: Exchange, path: str) -> bool:
        """Let a page read what is answered at `path`, if it may. Whether all is said: its browser was asking."""
        sharing = exchange.rules.sharing.get(path)
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

    @staticmethod
    def _body_may_hold_token(exchange: Exchange, rules: RequestRules, headers: RequestHeaders) -> bool:
        """Only a form or JSON, not compressed; and never when the client waits for 100: it is refused without one."""
        if (
            "body" not in rules.credentials.places
            or not headers.framing
            or headers.content_coded
            or headers.expects_continue
        ):
            return False
        length = declared_length(exchange.message)
        return (length is None or 0 < length <= rules.credentials.body_limit) and _media_type(headers) is not None

    @staticmethod
    def _streams(exchange: Exchange, rules: RequestRules) -> bool:
        """Whether a body has no length, and is not all here or too much to look through: it may go on for as long as it
        likes."""
        payload = exchange.payload
        return bool(exchange.message.chunked) and (
            not payload.is_eof() or payload.total_bytes > rules.credentials.body_limit
        )

    def _read_body(self, exchange: Exchange, rules: RequestRules, go_on: Callable[[bytes], None]) -> None:
        """Go on with the body of a request, when that is here. Raises `Refused` when too many wait for theirs."""
        exchange.await_body()
        exchange.task = exchange.connection.loop.create_task(
            self._go_on_with_body(exchange, rules.credentials.body_limit, go_on)
        )

    async def _go_on_with_body(self, exchange: Exchange, limit: int, go_on: Callable[[bytes], None]) -> None:
        try:
            go_on(await exchange.read_body(limit))
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
        self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders, body: bytes
    ) -> None:
        found = _token_in_body(body, headers)
        if len(set(found.tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        token = found.tokens[0] if found.tokens else None
        verified = self._read_token(token, rules)
        self._admit(exchange, verified, routed.route, token)
        target = routed.target
        query = self._find_credential(rules, target, headers).query
        self._forward(exchange, None, target.path, query, headers, verified, found.rest.encode("latin-1"))

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

    def lapsed(self, exchange: RequestInProgress) -> Reason | None:
        """Why a request that was admitted would be refused now, by the rules that are in force now. A store that is out of
        reach ends nothing that flows: what it was last known to hold is still obeyed."""
        verified, rules = exchange.verified, self._rules
        if verified is None:
            return None
        try:
            route = rules.policy.decide(exchange.message.method, exchange.path)
        except Refused as exc:
            return exc.reason
        if route.access is Access.DENY:
            return Reason.DENIED_BY_ROUTE
        reason = objection(verified, route, rules.admission, self._view, self._now(), self._monotonic())
        return None if reason is Reason.STORE_UNAVAILABLE else reason

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
        exchange.refuse(reason, refused.detail, *_challenge(refused, exchange.rules.realm))

    @staticmethod
    def _reply(refused: Refused, rules: RequestRules) -> Reply:
        headers = _challenge(refused, rules.realm)
        return refusal(refused.reason, refused.detail, *headers, client_id=refused.client_id, user=refused.user)


def _challenge(refused: Refused, realm: str) -> list[tuple[str, str]]:
    """`WWW-Authenticate` (RFC 6750 section 3): without an error code when no credential was sent."""
    reason = refused.reason
    if reason is Reason.METHOD_NOT_ALLOWED:
        return [("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")]
    if reason is Reason.MISSING_TOKEN:
        return [("WWW-Authenticate", f'Bearer realm="{realm}"')]
    if reason.error not in ("invalid_token", "insufficient_scope") and reason is not Reason.MULTIPLE_TOKENS:
        return []
    challenge = f'Bearer realm="{realm}", error="{reason.error}", error_description="{refused.detail}"'
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
