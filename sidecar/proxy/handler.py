"""The admission of a request: `AuthenticatingHandler.handle` lists its phases.

normalise the path → match the route → one method? → find the credential → verify → admit (`core.admission`) → forward →
(report, at the end)

Every decision is made from memory. Only a request whose token may be in its body has to wait: the body is read, within
limits, and the phases continue.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from sidecar.core.admission import VerifiedToken, objection
from sidecar.core.events import Decision
from sidecar.core.http import credentials
from sidecar.core.http.paths import RequestTarget, split_target
from sidecar.core.http.plain_heads import PlainHead, PlainHeads
from sidecar.core.http.request_headers import RequestHeaders, read_request_headers
from sidecar.core.oauth.endpoint_paths import label_of
from sidecar.core.policy import Access, Route
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import Reply
from sidecar.core.revocations import RevocationView
from sidecar.proxy.credential import body_may_hold_token, body_streams, find_credential, token_in_body, token_that_came
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.forwarding import Upgrades, request_line
from sidecar.proxy.local import LocalEndpoints, share
from sidecar.proxy.ports import RequestInProgress
from sidecar.proxy.refusing import refuse, refused_token, reply_to
from sidecar.proxy.request import BodyTooLarge, Message, RequestBroken
from sidecar.proxy.rules import RequestRules

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
        self.heads: PlainHeads = rules.heads  # the shapes of request heads that are known under the current rules
        self._view = view
        self._upgrades = upgrades
        self._local = LocalEndpoints(log_failure)
        self._now = now
        self._monotonic = monotonic
        self._log_failure = log_failure

    def use(self, rules: RequestRules) -> None:
        """Apply these rules from the next request on."""
        self._rules = rules
        self.heads = rules.heads

    def handle(self, exchange: Exchange) -> None:
        """Answer the request, or start answering it. Never raises."""
        exchange.rules = rules = self._rules
        message = exchange.message
        try:
            if type(message) is PlainHead:
                section = message.section
                target, route, headers = message.target, message.route, section.headers
                exchange.path = target.path
                if route is None:
                    route = rules.policy.decide(message.method, target.path)
                    if section.block_of is not None:  # the section repeats, so the line may do so, too
                        rules.heads.remember(message, route)
            else:
                target = _read_target(message)
                exchange.path = target.path
                route = rules.policy.decide(message.method, target.path)
                headers = _read_headers(exchange, rules, target)
            if headers.methods:
                self._check_method(exchange, rules, target, headers)
            access = route.access
            if access is _TOKEN:
                self._handle_protected(exchange, rules, target, route, headers)
            elif access is Access.LOCAL:
                self._local.answer(exchange, rules, target, route, headers)
            elif access is Access.PUBLIC:
                self._forward_public(exchange, rules, target, headers)
            else:
                raise _closed(exchange, rules, target, headers)
        except Refused as exc:
            refuse(exchange, exc)
        except Exception as exc:  # noqa: BLE001  a defect of the sidecar must neither admit a request nor end the worker
            self._log_failure("handler", exc)
            exchange.refuse(Reason.INTERNAL)

    def turn_away(self, exchange: Exchange) -> None:
        """Refuse a request without examining it, because there are too many."""
        exchange.rules = self._rules
        path = exchange.message.path.partition("?")[0]
        if path in self._rules.endpoints:
            exchange.endpoint = label_of(path)
        if not share(exchange, path):
            exchange.refuse(Reason.OVERLOADED)

    # The phases.

    def _check_method(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, headers: RequestHeaders
    ) -> None:
        """Raises `Refused` when a header asks for a method to which another rule applies."""
        if not rules.policy.decides_alike(exchange.message.method, headers.methods, target.path):
            raise Refused(Reason.AMBIGUOUS_METHOD)

    def _handle_protected(
        self, exchange: Exchange, rules: RequestRules, target: RequestTarget, route: Route, headers: RequestHeaders
    ) -> None:
        """Find the token, verify it, apply the admission rule, forward."""
        token, query = find_credential(rules, target, headers)
        if token is None and body_may_hold_token(exchange.message, rules, headers):
            self._read_body(exchange, rules, partial(self._admit_by_body, exchange, rules, target, route, headers))
            return
        verified = self._admit(exchange, rules, route, token)
        if verified is not None:
            self._forward(exchange, target, query, headers, verified)

    def _admit(self, exchange: Exchange, rules: RequestRules, route: Route, token: str | None) -> VerifiedToken | None:
        """The claims of a token that may be used for the route. `None` when the request was answered, because the token may
        not be used. Raises `Refused` for a request without a token, and for a token that is read for the first time and is no
        valid one."""
        if token is None:
            raise Refused(Reason.MISSING_TOKEN)
        known = rules.cache.get(token)
        verified = self._verify(token, rules) if known is None else known
        if isinstance(verified, Reply):
            exchange.respond(verified)
            return None
        moment = exchange.started if exchange.task is None else self._monotonic()
        reason = objection(verified, route, rules.admission, self._view, self._now(), moment)
        if reason in _OF_NO_MORE_USE:
            if known is None or token in rules.cache:
                rules.cache.set_aside(token, verified)
        elif known is None:
            rules.cache.add(token, verified)
        if reason is not None:
            detail = None
            if reason is Reason.INSUFFICIENT_SCOPE:
                detail = f"This route needs the scope {' '.join(sorted(route.scope))}."
            refuse(exchange, refused_token(reason, verified.token, detail))
            return None
        return verified

    def _verify(self, token: str, rules: RequestRules) -> VerifiedToken:
        """The claims of a token whose signature is valid. Raises `Refused` for any other."""
        try:
            return VerifiedToken(rules.tokens.read(token, self._now()))
        except Refused as exc:
            if exc.reason in _FOR_GOOD:
                rules.cache.set_aside(token, reply_to(exc, rules))
            raise

    def _forward(
        self,
        exchange: Exchange,
        target: RequestTarget,
        query: str | None,
        headers: RequestHeaders,
        verified: VerifiedToken,
        body: bytes | None = None,
    ) -> None:
        exchange.decision = _ADMITTED
        exchange.client_id = verified.client_id
        exchange.verified = verified
        message = exchange.message
        if type(message) is PlainHead and body is None:
            section = message.section
            if section.block_of is verified:
                block = section.block
            else:
                block = section.block = b"".join(
                    (
                        headers.block,
                        exchange.connection.forwarded.block(headers.forwarded, headers.host),
                        verified.identity,
                        b"\r\n",
                    )
                )
                section.block_of = verified
            same = query is target.query or query == target.query
            exchange.forward((message.line if same else request_line(exchange, target.path, query)) + block)
            return
        fields = headers.block if body is None else headers.resized(len(body))
        block = fields + exchange.connection.forwarded.block(headers.forwarded, headers.host) + verified.identity
        if headers.upgrade:
            block += self._upgrades.ask(exchange, headers)
        exchange.forward(request_line(exchange, target.path, query) + block + b"\r\n", body)

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
            headers = _read_headers(exchange, rules, target, strip=False)
        exchange.decision = Decision.PUBLIC
        fields = headers.block if body is None else headers.resized(len(body))
        block = fields + exchange.connection.forwarded.block(headers.forwarded, headers.host)
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
        self,
        exchange: Exchange,
        rules: RequestRules,
        target: RequestTarget,
        route: Route,
        headers: RequestHeaders,
        body: bytes,
    ) -> None:
        found = token_in_body(body, headers)
        if len(set(found.tokens)) > 1:
            raise Refused(Reason.MULTIPLE_TOKENS)
        token = found.tokens[0] if found.tokens else None
        verified = self._admit(exchange, rules, route, token)
        if verified is None:
            return
        _, query = find_credential(rules, target, headers)
        self._forward(exchange, target, query, headers, verified, found.rest.encode("latin-1"))

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


def _read_target(message: Message) -> RequestTarget:
    if message.method == "CONNECT":
        raise Refused(Reason.METHOD_NOT_ALLOWED, "This is not a forward proxy.")
    if message.version not in ((1, 1), (1, 0)):
        raise Refused(Reason.MALFORMED_REQUEST, "The HTTP version is not supported.")
    return split_target(message.path, message.method)


def _read_headers(
    exchange: Exchange, rules: RequestRules, target: RequestTarget, *, strip: bool = True
) -> RequestHeaders:
    """Read the fields of a request that are not known from its shape, or with `strip=False` those of any request."""
    message = exchange.message
    raw, modern = message.raw_headers, message.version == (1, 1)
    headers = read_request_headers(
        raw,
        kinds=rules.kinds,
        http_1_0=not modern,
        chunked=bool(message.chunked),
        authority=target.authority,
        default_host=rules.host.default,
        host=rules.host.instead,
        strip=strip,
    )
    exchange.expects_continue = headers.expects_continue
    exchange.trailer_names = headers.trailers
    if modern and not message.chunked and not message.upgrade and type(message) is not PlainHead:
        rules.heads.learn(raw)
    return headers


def _closed(exchange: Exchange, rules: RequestRules, target: RequestTarget, headers: RequestHeaders) -> Refused:
    """The refusal of a closed route; it names the owner of the request's token if the signature is valid."""
    reason = Reason.DENIED_BY_ROUTE
    try:
        token, _ = find_credential(rules, target, headers)
        if token is None and body_may_hold_token(exchange.message, rules, headers):
            token = token_that_came(exchange.payload, rules, headers)
        return refused_token(reason, rules.tokens.read_signed(token)) if token else Refused(reason)
    except Refused as exc:
        return Refused(reason, client_id=exc.client_id, user=exc.user)
