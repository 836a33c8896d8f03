"""The admission of a request: `AuthenticatingHandler.handle` lists its phases.

normalise the path → match the route → one method? → find the credential → verify → admit (`core.admission`) → forward →
(report, at the end)

Every decision is made from memory. Only a request whose token may be in its body has to wait: the body is read, within
limits, and the phases continue.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import HttpVersion11

from sidecar.core.admission import VerifiedToken, objection
from sidecar.core.events import Decision
from sidecar.core.http import credentials
from sidecar.core.http.paths import RequestTarget, split_target
from sidecar.core.http.request_headers import RequestHeaders, read_request_headers
from sidecar.core.policy import Access, Route
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply
from sidecar.core.revocations import RevocationView
from sidecar.proxy.credential import body_may_hold_token, body_streams, find_credential, token_in_body, token_that_came
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.forwarding import Upgrades, forwarded, request_line
from sidecar.proxy.local import LocalEndpoints, share
from sidecar.proxy.ports import RequestInProgress
from sidecar.proxy.refusing import refuse, refused_token, reply_to
from sidecar.proxy.request import BodyTooLarge, RequestBroken
from sidecar.proxy.rules import RequestRules, Routed

_MOST_ROUTED: Final = 4096
# In Python 3.11, accessing an enumeration member calls a function each time.
_TOKEN, _ADMITTED = Access.TOKEN, Decision.ADMITTED
# Results of reading a token that stay the same for as long as these rules apply.
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


class AuthenticatingHandler:
    """Decides about every request of a worker by the current rules; `use` replaces the rules."""

    def __init__(
        self,
        rules: RequestRules,
        *,
        view: RevocationView,
        upgrades: Upgrades,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        log_failure: Callable[[str, Exception], None],
    ) -> None:
        self._rules = rules
        self._view = view
        self._upgrades = upgrades
        self._local = LocalEndpoints(log_failure)
        self._now = now
        self._monotonic = monotonic
        self._log_failure = log_failure

    def use(self, rules: RequestRules) -> None:
        """Apply these rules from the next request on."""
        self._rules = rules

    def handle(self, exchange: Exchange) -> None:
        """Answer the request, or start answering it. Never raises."""
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
                self._local.answer(exchange, rules, routed, headers)
            elif access is Access.PUBLIC:
                self._forward_public(exchange, rules, routed.target, headers)
            else:
                raise _closed(exchange, rules, routed.target, headers)
        except Refused as exc:
            refuse(exchange, exc)
        except Exception as exc:  # noqa: BLE001  a defect of the sidecar must neither admit a request nor end the worker
            self._log_failure("handler", exc)
            exchange.refuse(Reason.INTERNAL)

    def turn_away(self, exchange: Exchange) -> None:
        """Refuse a request without examining it, because there are too many."""
        exchange.rules = self._rules
        if not share(exchange, exchange.message.path.partition("?")[0]):
            exchange.refuse(Reason.OVERLOADED)

    def _handle_again(self, exchange: Exchange, rules: RequestRules) -> bool:
        """Handle a request whose head repeats the previous one on its connection, for a target with a known route: what was
        read then is not read again, but the decision is made anew. Returns whether this was such a request."""
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
        """The request's target and the rule for it. Results are remembered, within limits, because targets repeat."""
        message = exchange.message
        key = (message.method, message.path)
        routed = rules.routed.get(key) if message.version is HttpVersion11 else None
        if routed is None:
            target = _read_target(exchange)
            plain = target.query is None and target.authority is None and message.version is HttpVersion11
            line = request_line(exchange, target.path, None) if plain else None
            routed = Routed(target, rules.policy.decide(message.method, target.path), line)
            if plain and len(message.path) <= _LONGEST_ROUTED:  # queries vary, and may hold a token
                if len(rules.routed) >= _MOST_ROUTED:
                    rules.routed.clear()  # a client requests random paths: start again instead of growing
                rules.routed[key] = routed
        else:
            exchange.path = routed.target.path
        return routed

    def _read_headers(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, *, strip: bool = True
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

    def _check_method(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, headers: RequestHeaders
    ) -> None:
        """Raises `Refused` when a header asks for a method to which another rule applies."""
        if not rules.policy.decides_alike(exchange.message.method, headers.methods, target.path):
            raise Refused(Reason.AMBIGUOUS_METHOD)

    def _handle_protected(
        self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders
    ) -> None:
        """Find the token, verify it, apply the admission rule, forward."""
        target = routed.target
        found = find_credential(rules, target, headers)
        if found.token is None and body_may_hold_token(exchange.message, rules, headers):
            self._read_body(exchange, rules, partial(self._admit_by_body, exchange, rules, routed, headers))
            return
        try:
            verified = self._read_token(found.token, rules)
        except Refused as exc:
            if exc.reason in _FOR_GOOD:
                _remember(exchange, routed, headers, reply_to(exc, rules))
            raise
        self._admit(exchange, verified, routed.route, found.token)
        self._forward(exchange, routed.line, target.path, found.query, headers, verified)
        _remember(exchange, routed, headers, verified)

    def _read_token(self, token: str | None, rules: RequestRules) -> VerifiedToken:
        """Raises `Refused` unless the token is a valid one of the sidecar."""
        if token is None:
            raise Refused(Reason.MISSING_TOKEN)
        return rules.cache.get(token) or VerifiedToken(rules.tokens.read(token, self._now()))

    def _admit(self, exchange: Exchange, verified: VerifiedToken, route: Route, token: str | None = None) -> None:
        """Raises `Refused` if the admission rule objects. `token` is the text that `verified` was read from; it is cached
        while it can be used again."""
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
            raise refused_token(reason, verified.token, detail)

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
            block = fields + forwarded(exchange, headers) + verified.identity
        elif memo.block_of is verified:
            block = memo.block
        else:
            block = memo.block = headers.block + forwarded(exchange, headers) + verified.identity
            memo.block_of = verified
            memo.again = None  # the block now belongs to another token
        if headers.upgrade:
            block += self._upgrades.ask(exchange, headers)
        exchange.forward((line or request_line(exchange, path, query)) + block + b"\r\n", body)

    # Routes that need no token.

    def _forward_public(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, headers: RequestHeaders
    ) -> None:
        """No one is authenticated. The sidecar's own tokens are removed anyway; tokens of others are left to the API."""
        if body_may_hold_token(exchange.message, rules, headers) and not body_streams(
            exchange.message, exchange.payload, rules
        ):
            self._read_body(exchange, rules, partial(self._forward_without_ours, exchange, rules, target, headers))
        else:
            self._forward_without_ours(exchange, rules, target, headers, None)

    def _forward_without_ours(
        self,
        exchange: Exchange,
        rules: RequestRules,
        target: RequestTarget,
        headers: RequestHeaders,
        body: bytes | None,
    ) -> None:
        ours = rules.tokens.recognises
        found = credentials.from_pairs(target.query or "")
        query = found.rest or None if any(map(ours, found.tokens)) else target.query
        if body is not None:
            found = token_in_body(body, headers)
            body = found.rest.encode("latin-1") if any(map(ours, found.tokens)) else body
        if headers.tokens and not any(map(ours, headers.tokens)):
            headers = self._read_headers(exchange, rules, target, strip=False)
        exchange.decision = Decision.PUBLIC
        fields = headers.block if body is None else headers.resized(len(body))
        block = fields + forwarded(exchange, headers)
        if headers.upgrade:
            block += self._upgrades.ask(exchange, headers)
        exchange.forward(request_line(exchange, target.path, query) + block + b"\r\n", body)

    # A token in the body.

    def _read_body(self, exchange: Exchange, rules: RequestRules, go_on: Callable[[bytes], None]) -> None:
        """Continue with the body of a request once it has arrived. Raises `Refused` when too many requests wait for their
        body."""
        exchange.await_body()
        exchange.task = exchange.connection.loop.create_task(
            self._go_on_with_body(exchange, rules.credentials.body_limit, go_on)
        )

    async def _go_on_with_body(self, exchange: Exchange, limit: int, go_on: Callable[[bytes], None]) -> None:
        try:
            go_on(await exchange.read_body(limit))
        except Refused as exc:
            refuse(exchange, exc)
        except BodyTooLarge:
            refuse(exchange, Refused(Reason.MISSING_TOKEN))
        except RequestBroken:
            exchange.refuse(Reason.MALFORMED_REQUEST)
        except Exception as exc:  # noqa: BLE001  see handle
            self._log_failure("handler", exc)
            exchange.refuse(Reason.INTERNAL)

    def _admit_by_body(
        self, exchange: Exchange, rules: RequestRules, routed: Routed, headers: RequestHeaders, body: bytes
    ) -> None:
        found = token_in_body(body, headers)
        if len(set(found.tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        token = found.tokens[0] if found.tokens else None
        verified = self._read_token(token, rules)
        self._admit(exchange, verified, routed.route, token)
        target = routed.target
        query = find_credential(rules, target, headers).query
        self._forward(exchange, None, target.path, query, headers, verified, found.rest.encode("latin-1"))

    # Long-lived streams.

    def recheck(self, exchange: RequestInProgress) -> Reason | None:
        """The reason for which an admitted request would now be refused under the current rules. An unreachable store ends no
        stream: the last known revocations still apply."""
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


def _read_target(exchange: Exchange) -> RequestTarget:
    message = exchange.message
    if message.method == "CONNECT":
        raise Refused(Reason.METHOD_NOT_ALLOWED, "This is not a forward proxy.")
    if message.version not in ((1, 1), (1, 0)):
        raise Refused(Reason.MALFORMED_REQUEST, "The HTTP version is not supported.")
    target = split_target(message.path, message.method)
    exchange.path = target.path
    return target


def _remember(exchange: Exchange, routed: Routed, headers: RequestHeaders, read: VerifiedToken | Reply) -> None:
    """Keep what was read from a head: its token, or the reply if it holds no token that could ever be used. Only for targets
    without a query and heads without a body, since both could hold a token; and not for heads that ask for another method,
    which is decided per path."""
    memo = exchange.connection.memo
    if memo.headers is not headers or routed.line is None:
        return
    if headers.framing or headers.upgrade or headers.expects_continue or headers.methods:
        return
    memo.again = exchange.message.raw_headers
    memo.token, memo.unusable = (read, None) if isinstance(read, VerifiedToken) else (None, read)


def _closed(exchange: Exchange, rules: RequestRules, target: RequestTarget, headers: RequestHeaders) -> Refused:
    """The refusal of a closed route; it names the owner of the request's token if the signature is valid."""
    reason = Reason.DENIED_BY_ROUTE
    try:
        token = find_credential(rules, target, headers).token
        if token is None and body_may_hold_token(exchange.message, rules, headers):
            token = token_that_came(exchange.payload, rules, headers)
        return refused_token(reason, rules.tokens.read_signed(token)) if token else Refused(reason)
    except Refused as exc:
        return Refused(reason, client_id=exc.client_id, user=exc.user)
