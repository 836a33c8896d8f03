"""The paths of the sidecar's endpoints, below the issuer: the table that metadata, routes and documents use."""

from typing import Final

TOKEN: Final = "/oauth/token"  # noqa: S105  a path
AUTHORIZE: Final = "/oauth/authorize"
REVOKE: Final = "/oauth/revoke"
INTROSPECT: Final = "/oauth/introspect"
LOGOUT: Final = "/oauth/logout"
JWKS: Final = "/oauth/jwks"
METADATA: Final = "/.well-known/oauth-authorization-server"

ALL: Final = (TOKEN, AUTHORIZE, REVOKE, INTROSPECT, LOGOUT, JWKS, METADATA)

MEMBERS: Final = {
    AUTHORIZE: "authorization_endpoint",
    TOKEN: "token_endpoint",
    REVOKE: "revocation_endpoint",
    INTROSPECT: "introspection_endpoint",
}
"""The member of the metadata (RFC 8414 section 2) that contains each path."""

_LABELS: Final = {path: path.rpartition("/")[2] for path in ALL} | {METADATA: "metadata"}


def label_of(path: str) -> str:
    """The short name of the endpoint at `path`, which may be below the path of an issuer: `token`, `authorize`, `revoke`,
    `introspect`, `logout`, `jwks` or `metadata`."""
    if METADATA in path:
        return _LABELS[METADATA]
    return next(label for known, label in _LABELS.items() if path.endswith(known))
