"""The rules of an authorization request (RFC 6749 sections 4.1.1 and 4.2.1, RFC 7636, RFC 9207, RFC 9700).

There are two steps, because they fail in different ways:

1. `find_target` determines which client asks, and where the response goes. A failure is shown to the user at the browser only:
   a redirect would go to an address that has not been verified.
2. `read_request` checks everything else. A failure is reported to the client, by `AuthorizationError` and a redirect.

`response_type=code` needs PKCE with S256 from every client. `response_type=token` (implicit) is for clients whose
`grant_types` name it.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from sidecar.core.base64url import encode
from sidecar.core.oauth.clients import Client, ClientRegistry
from sidecar.core.oauth.grants import AUTHORIZATION_CODE, IMPLICIT, narrow_scope
from sidecar.core.oauth.redirects import registered, with_fragment, with_query
from sidecar.core.oauth.users import User
from sidecar.core.reasons import Reason, Refused

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 section 4.1
_NEEDS: Final = {"code": AUTHORIZATION_CODE, "token": IMPLICIT}
_MODES: Final = {"code": "query", "token": "fragment"}
_PROMPTS: Final = frozenset(["none", "login", "consent", "select_account"])
_TAPDATA_SCOPE: Final = "api-server"

ResponseType = Literal["code", "token"]


class RedirectTarget(NamedTuple):
    """Which client asks, and where the response goes. `named`: the request contains the redirect URI."""

    client: Client
    redirect_uri: str
    named: bool


class AuthorizationRequest(NamedTuple):
    """A request that may be granted. `challenge` is set for a code. `scope` is limited to what the client may have."""

    target: RedirectTarget
    response_type: ResponseType
    scope: tuple[str, ...]
    state: str | None
    challenge: str | None
    prompt: frozenset[str]


class AuthorizationError(Exception):
    """A failure to report to the client: `error` of RFC 6749 section 4.1.2.1 (or OpenID Connect Core section 3.1.2.6).
    `user` is the user who is logged in, for the log."""

    def __init__(self, reason: Reason, error: str, description: str, *, user: str | None = None) -> None:
        super().__init__(error)
        self.user = user
        self.reason = reason
        self.error = error
        self.description = description


def find_target(parameters: Mapping[str, str], clients: ClientRegistry) -> RedirectTarget:
    """Find the client and its redirect URI. Raises `Refused`: `UNKNOWN_CLIENT`, `CLIENT_DISABLED`, `INVALID_REDIRECT`. The
    caller must not redirect then."""
    client = clients.find(parameters.get("client_id", ""))
    if client is None:
        raise Refused(Reason.UNKNOWN_CLIENT, "The application is not known here.")
    if client.disabled:
        raise Refused(Reason.CLIENT_DISABLED, "The application is not known here.", client_id=client.client_id)
    requested = parameters.get("redirect_uri")
    if requested is None:
        if len(client.redirect_uris) != 1:
            raise Refused(Reason.INVALID_REDIRECT, "The parameter redirect_uri is missing.", client_id=client.client_id)
        return RedirectTarget(client, client.redirect_uris[0], named=False)
    if not registered(requested, client.redirect_uris):
        raise Refused(Reason.INVALID_REDIRECT, client_id=client.client_id)
    return RedirectTarget(client, requested, named=True)


def read_request(parameters: Mapping[str, str], target: RedirectTarget, *, tapdata: bool) -> AuthorizationRequest:
    """Check the request. Raises `AuthorizationError`. `tapdata`: also accept TapData's older form of an implicit request."""
    client = target.client
    response_type = _response_type(parameters, client)
    challenge = _challenge(parameters) if response_type == "code" else None
    requested = parameters.get("scope")
    if tapdata and response_type == "token" and parameters.get("grant_type") == "password":
        requested = _without_tapdata_scope(requested, client)
    try:
        scope = narrow_scope(client, requested)
    except Refused as exc:
        raise AuthorizationError(exc.reason, exc.reason.error, exc.detail) from None
    return AuthorizationRequest(target, response_type, scope, parameters.get("state"), challenge, _prompt(parameters))


def _response_type(parameters: Mapping[str, str], client: Client) -> ResponseType:
    response_type = parameters.get("response_type")
    if response_type is None:
        raise _invalid("The parameter response_type is missing.")
    if response_type not in ("code", "token"):
        reason = Reason.UNSUPPORTED_RESPONSE_TYPE
        raise AuthorizationError(reason, reason.error, reason.sentence)
    if _NEEDS[response_type] not in client.grant_types:
        raise AuthorizationError(
            Reason.UNAUTHORIZED_GRANT, "unauthorized_client", "The client may not use this response type."
        )
    if parameters.get("response_mode", _MODES[response_type]) != _MODES[response_type]:
        raise _invalid("This response_mode is not supported.")
    return "code" if response_type == "code" else "token"


def _challenge(parameters: Mapping[str, str]) -> str:
    challenge = parameters.get("code_challenge")
    if challenge is None:
        raise _invalid("PKCE is required: the parameter code_challenge is missing.")
    if parameters.get("code_challenge_method") != "S256":
        raise _invalid("code_challenge_method must be S256.")
    if not _CHALLENGE.fullmatch(challenge):
        raise _invalid("code_challenge is not a SHA-256 in base64url.")
    return challenge


def _prompt(parameters: Mapping[str, str]) -> frozenset[str]:
    prompt = frozenset(filter(None, parameters.get("prompt", "").split(" ")))
    if not prompt <= _PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise _invalid("The parameter prompt has an unknown value, or none beside another.")
    return prompt


def _without_tapdata_scope(requested: str | None, client: Client) -> str | None:
    """TapData's clients send `scope=api-server` for all scopes of the client."""
    if _TAPDATA_SCOPE in client.scope:
        return requested
    rest = [scope for scope in (requested or "").split(" ") if scope and scope != _TAPDATA_SCOPE]
    return " ".join(rest) or None


def _invalid(description: str) -> AuthorizationError:
    return AuthorizationError(Reason.INVALID_REQUEST, "invalid_request", description)


def scope_for(user: User, scope: tuple[str, ...]) -> tuple[str, ...]:
    """The part of `scope` that the user has. Raises `AuthorizationError` when the user has none of the requested scopes."""
    granted = scope if user.scope is None else tuple(each for each in scope if each in user.scope)
    if scope and not granted:
        raise AuthorizationError(
            Reason.ACCESS_DENIED,
            "access_denied",
            "The user may do nothing of what the client asked for.",
            user=user.username,
        )
    return granted


def response_uri(parameters: Mapping[str, str], redirect_uri: str, answer: Mapping[str, str], issuer: str) -> str:
    """The URI to which the browser is redirected with `answer`, `state` (as it was sent) and `iss` (RFC 9207).

    They are in the fragment when the request asked for a token, also for an error (RFC 6749 section 4.2.2.1), else in the
    query.
    """
    whole = dict(answer)
    if "state" in parameters:
        whole["state"] = parameters["state"]
    whole["iss"] = issuer
    attach = with_fragment if parameters.get("response_type") == "token" else with_query
    return attach(redirect_uri, whole)


def verifies(verifier: str, challenge: str) -> bool:
    """Whether the PKCE `verifier` matches the S256 `challenge` (RFC 7636 section 4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    return hmac.compare_digest(encode(hashlib.sha256(verifier.encode("ascii")).digest()), challenge)
