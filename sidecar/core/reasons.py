"""Why a request was refused: one closed list, with the same word in the response, the metric and the log.

Every refusal has a row here. The row contains its plane, the HTTP status and the OAuth error code for the client, and a
sentence for people. Sources: RFC 6750 section 3.1 (protected requests), RFC 6749 section 5.2 (token endpoint),
RFC 9110 section 15.
"""

from enum import Enum, StrEnum
from typing import Final


class Plane(StrEnum):
    """What failed, and so who can fix it. Each plane has its own counter, except the first two, which share one."""

    PROTECTED = "protected"  # the credential of a request, or its permissions
    TOKEN = "token"  # noqa: S105  the name of a plane: a client or user asked for a token
    REQUEST = "request"  # the request itself, before its credential was checked
    UPSTREAM = "upstream"  # the API
    SIDECAR = "sidecar"  # the sidecar, or the store that it depends on


class Reason(Enum):
    """A refusal: `(plane, word, HTTP status, OAuth error code, sentence)`.

    The sentence never reveals what an attacker could probe: it is the same for an unknown client and a wrong secret.
    """

    # That of an enumeration is a Python function, and each refusal looks up its reason several times.
    __hash__ = object.__hash__

    # Protected requests: the client's credential.
    MISSING_TOKEN = (Plane.PROTECTED, "missing_token", 401, "invalid_token", "No access token was sent.")
    MALFORMED_TOKEN = (Plane.PROTECTED, "malformed_token", 401, "invalid_token", "The access token is malformed.")
    BAD_SIGNATURE = (Plane.PROTECTED, "bad_signature", 401, "invalid_token", "The access token's signature is invalid.")
    UNKNOWN_KEY = (Plane.PROTECTED, "unknown_key", 401, "invalid_token", "The access token names an unknown key.")
    EXPIRED = (Plane.PROTECTED, "expired", 401, "invalid_token", "The access token has expired.")
    NOT_YET_VALID = (Plane.PROTECTED, "not_yet_valid", 401, "invalid_token", "The access token is not valid yet.")
    WRONG_ISSUER = (Plane.PROTECTED, "wrong_issuer", 401, "invalid_token", "Another issuer made the access token.")
    WRONG_AUDIENCE = (Plane.PROTECTED, "wrong_audience", 401, "invalid_token", "The access token is for another API.")
    WRONG_TYPE = (Plane.PROTECTED, "wrong_type", 401, "invalid_token", "The token is not an access token.")
    REVOKED = (Plane.PROTECTED, "revoked", 401, "invalid_token", "The access token was revoked.")
    PROTECTED_CLIENT_DISABLED = (
        Plane.PROTECTED,
        "client_disabled",
        401,
        "invalid_token",
        "The client of the access token is disabled.",
    )
    MULTIPLE_TOKENS = (Plane.PROTECTED, "multiple_tokens", 400, "invalid_request", "More than one token was sent.")
    INSUFFICIENT_SCOPE = (
        Plane.PROTECTED,
        "insufficient_scope",
        403,
        "insufficient_scope",
        "The access token lacks a scope that this route needs.",
    )
    DENIED_BY_ROUTE = (Plane.PROTECTED, "denied_by_route", 403, "access_denied", "This route is closed.")
    # Protected requests: more than one route could apply, as when an attacker wants the API to read another one.
    AMBIGUOUS_PATH = (
        Plane.PROTECTED,
        "ambiguous_path",
        400,
        "invalid_request",
        "The path can be read in more than one way.",
    )
    AMBIGUOUS_METHOD = (
        Plane.PROTECTED,
        "ambiguous_method",
        400,
        "invalid_request",
        "A header asks for another method, for which another rule holds.",
    )

    # Any request: it cannot be parsed, or is over a limit.
    MALFORMED_REQUEST = (Plane.REQUEST, "malformed_request", 400, "invalid_request", "The request is malformed.")
    METHOD_NOT_ALLOWED = (Plane.REQUEST, "method_not_allowed", 405, "invalid_request", "The method is not allowed.")
    REQUEST_TIMEOUT = (Plane.REQUEST, "request_timeout", 408, "invalid_request", "The request came too slowly.")
    REQUEST_LINE_TOO_LONG = (
        Plane.REQUEST,
        "request_line_too_long",
        414,
        "invalid_request",
        "The request line is too long.",
    )
    HEADERS_TOO_LARGE = (Plane.REQUEST, "headers_too_large", 431, "invalid_request", "The headers are too large.")
    BODY_TOO_LARGE = (Plane.REQUEST, "body_too_large", 413, "invalid_request", "The body is too large.")

    # The token and revocation endpoints.
    UNKNOWN_CLIENT = (Plane.TOKEN, "unknown_client", 401, "invalid_client", "Client authentication failed.")
    BAD_CLIENT_SECRET = (Plane.TOKEN, "bad_client_secret", 401, "invalid_client", "Client authentication failed.")
    WRONG_AUTH_METHOD = (Plane.TOKEN, "wrong_auth_method", 401, "invalid_client", "Client authentication failed.")
    BAD_CLIENT_ASSERTION = (Plane.TOKEN, "bad_client_assertion", 401, "invalid_client", "Client authentication failed.")
    REPLAYED_CLIENT_ASSERTION = (
        Plane.TOKEN,
        "replayed_client_assertion",
        401,
        "invalid_client",
        "Client authentication failed.",
    )
    CLIENT_DISABLED = (Plane.TOKEN, "client_disabled", 401, "invalid_client", "Client authentication failed.")
    INVALID_REQUEST = (Plane.TOKEN, "invalid_request", 400, "invalid_request", "The request is invalid.")
    UNSUPPORTED_GRANT = (
        Plane.TOKEN,
        "unsupported_grant",
        400,
        "unsupported_grant_type",
        "The grant type is not supported.",
    )
    UNAUTHORIZED_GRANT = (
        Plane.TOKEN,
        "unauthorized_grant",
        400,
        "unauthorized_client",
        "The client may not use this grant type.",
    )
    MAY_NOT_INTROSPECT = (
        Plane.TOKEN,
        "may_not_introspect",
        403,
        "unauthorized_client",
        "The client may not ask about tokens.",
    )
    INVALID_SCOPE = (Plane.TOKEN, "invalid_scope", 400, "invalid_scope", "The client may not have this scope.")
    REFRESH_EXPIRED = (Plane.TOKEN, "refresh_expired", 400, "invalid_grant", "The refresh token is invalid.")
    REFRESH_REUSED = (Plane.TOKEN, "refresh_reused", 400, "invalid_grant", "The refresh token is invalid.")
    REFRESH_REVOKED = (Plane.TOKEN, "refresh_revoked", 400, "invalid_grant", "The refresh token is invalid.")
    REFRESH_MALFORMED = (Plane.TOKEN, "refresh_malformed", 400, "invalid_grant", "The refresh token is invalid.")
    GRANT_REVOKED = (Plane.TOKEN, "grant_revoked", 400, "invalid_grant", "The grant was revoked.")
    CODE_REPLAYED = (Plane.TOKEN, "code_replayed", 400, "invalid_grant", "The authorization code is invalid.")
    CODE_INVALID = (Plane.TOKEN, "code_invalid", 400, "invalid_grant", "The authorization code is invalid.")
    FOREIGN_TOKEN = (
        Plane.TOKEN,
        "foreign_token",
        400,
        "invalid_grant",
        "The token was issued to another client.",
    )
    THROTTLED = (Plane.TOKEN, "throttled", 429, "temporarily_unavailable", "Too many requests; try again later.")

    # The login page and the authorization endpoint (RFC 6749 section 4.1.2.1).
    BAD_CREDENTIALS = (Plane.TOKEN, "bad_credentials", 403, "access_denied", "The user name or password is wrong.")
    STALE_FORM = (Plane.TOKEN, "stale_form", 403, "access_denied", "The page was too old; try again.")
    INVALID_REDIRECT = (
        Plane.TOKEN,
        "invalid_redirect",
        400,
        "invalid_request",
        "The address that the application named for the answer is not registered.",
    )
    UNSUPPORTED_RESPONSE_TYPE = (
        Plane.TOKEN,
        "unsupported_response_type",
        400,
        "unsupported_response_type",
        "The response type is not supported.",
    )
    ACCESS_DENIED = (Plane.TOKEN, "access_denied", 403, "access_denied", "The user did not agree.")
    LOGIN_REQUIRED = (Plane.TOKEN, "login_required", 403, "login_required", "The user must log in.")
    CONSENT_REQUIRED = (Plane.TOKEN, "consent_required", 403, "consent_required", "The user must agree.")

    # Failures behind the sidecar, for which the client is not responsible.
    UPSTREAM_UNREACHABLE = (Plane.UPSTREAM, "upstream_unreachable", 502, "bad_gateway", "The API is not reachable.")
    UPSTREAM_INVALID = (Plane.UPSTREAM, "upstream_invalid", 502, "bad_gateway", "The API gave no valid answer.")
    UPSTREAM_TIMEOUT = (Plane.UPSTREAM, "upstream_timeout", 504, "gateway_timeout", "The API did not answer in time.")

    # Failures of the sidecar, for which neither the client nor the API is responsible.
    STORE_UNAVAILABLE = (
        Plane.SIDECAR,
        "store_unavailable",
        503,
        "temporarily_unavailable",
        "The state needed to decide is not available; try again.",
    )
    OVERLOADED = (
        Plane.SIDECAR,
        "overloaded",
        503,
        "temporarily_unavailable",
        "There are too many requests; try again.",
    )
    INTERNAL = (Plane.SIDECAR, "internal", 500, "server_error", "The sidecar failed; see its log.")

    def __init__(self, plane: Plane, word: str, status: int, error: str, sentence: str) -> None:
        self.plane: Final = plane
        self.word: Final = word
        self.status: Final = status
        self.error: Final = error
        self.sentence: Final = sentence


TRY_THE_SAME_AGAIN: Final = "The store does not answer; try again, with the same token or code."
"""The description of `STORE_UNAVAILABLE` for a client of the sidecar's endpoints."""


class Refused(Exception):
    """A refusal: the `Reason`, and a `detail` where the sentence of the reason is not enough.

    The client sees `detail`: it must contain nothing secret, and nothing verbatim that the client sent. `client_id` is the
    registered client that was refused, and `user` the user of its token or code, both for the log. `retry_after`: whole
    seconds after which the client may try again.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str | None = None,
        *,
        client_id: str | None = None,
        user: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(reason.word)
        self.reason = reason
        self.detail = detail or reason.sentence
        self.client_id = client_id
        self.user = user
        self.retry_after = retry_after
