"""The token that all contenders accept: same key, same claims."""

import base64
import hashlib
import hmac
import json
import time

KEY = "0123456789abcdef0123456789abcdef"
KID = "1"
ISSUER, AUDIENCE, SCOPE = "https://issuer.example", "api", "orders:read"
CACHE_SIZE = 20_000  # tokens that ours remembers by default, and Envoy here


def encode(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(*, expires_in: int = 3600, key: str = KEY, jti: str = "x" * 22) -> str:
    """A token of HS256 for those who do not issue any, with the claims that ours has; `expires_in` seconds from now."""
    now = int(time.time())
    end = now + expires_in
    header = {"alg": "HS256", "typ": "at+jwt", "kid": KID}
    claims = {
        "iss": ISSUER, "sub": "bench", "aud": AUDIENCE, "client_id": "bench", "iat": now, "nbf": now, "exp": end,
        "jti": jti, "scope": SCOPE, "clientId": "bench", "roles": ["analyst"], "createdAt": now * 1000,
        "expiredate": end * 1000,
    }  # fmt: skip
    signed = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{encode(hmac.digest(key.encode(), signed.encode(), hashlib.sha256))}"
