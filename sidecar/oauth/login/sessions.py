"""Login sessions: a cookie with 256 random bits, whose digest is the key of a session in the store.

Rules:
- The API never sees the cookie (`core.http.cookies`).
- The sidecar sets the cookie with the first page, before the user has logged in. A login replaces it, so an attacker cannot
  make a user log in to a session that the attacker knows (session fixation).
- Over TLS its name begins with `__Host-`: no other host and no plain connection can set it (RFC 6265bis section 4.1.3.2).
- `SameSite=Lax`: the browser sends the cookie when a client redirects it here, but not with a POST from another site.
- A form carries a token that is bound to the cookie and the page: an HMAC of the page's path and query, keyed with the cookie.
"""

import hmac
import json
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.base64url import encode
from sidecar.core.digests import digest
from sidecar.core.http.cookies import LOGIN, LOGIN_VALUE, SECURE_LOGIN
from sidecar.core.oauth.users import User
from sidecar.core.ports import Store
from sidecar.core.replies import EndpointRequest

_VALUE: Final = re.compile(LOGIN_VALUE)


class Session(NamedTuple):
    """A user's login at `since` (epoch seconds); `mark` is the `password_version` at that time. The store uses these field
    names."""

    username: str
    mark: str
    since: float

    def belongs_to(self, user: User | None) -> bool:
        """Whether the session still belongs to this user. A new password ends it."""
        return user is not None and (user.username, user.password_version) == (self.username, self.mark)


class Sessions:
    """Reads and opens sessions. `ttl` is in seconds; `new_secret` gives 32 random bytes in base64url.

    `ended(username, since)` says whether a session that a user began at `since` has been revoked.
    """

    def __init__(
        self,
        store: Store,
        *,
        secure: bool,
        ttl: int,
        clock: Callable[[], float],
        new_secret: Callable[[], str],
        ended: Callable[[str, float], bool],
    ) -> None:
        self._store = store
        self._name = SECURE_LOGIN if secure else LOGIN
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        self._ttl = ttl
        self._clock = clock
        self._new_secret = new_secret
        self._ended = ended

    def cookie(self, request: EndpointRequest) -> str | None:
        """The value of the login cookie; `None` when it is missing, malformed, or sent more than once."""
        pairs = [pair.strip() for header in request.header_values("cookie") for pair in header.split(";")]
        found = [value for name, _, value in (pair.partition("=") for pair in pairs) if name == self._name]
        return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None

    async def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if the user has logged in. Raises `StoreUnavailable`."""
        session = await self._kept(cookie)
        return None if session is None or self._ended(session.username, session.since) else session

    async def _kept(self, cookie: str | None) -> Session | None:
        kept = await self._store.get(_key(cookie)) if cookie is not None else None
        return None if kept is None else Session(**json.loads(kept))

    async def open(self, user: User, replaced: str | None) -> str:
        """Begin a session, and end that of the cookie `replaced`. Returns the new cookie. Raises `StoreUnavailable`."""
        cookie = self._new_secret()
        session = Session(user.username, user.password_version, self._clock())
        await self._store.put(_key(cookie), json.dumps(session._asdict()), self._ttl)
        await self.close(replaced)
        return cookie

    async def close(self, cookie: str | None) -> None:
        """End the session of a cookie. Raises `StoreUnavailable`."""
        if cookie is not None:
            await self._store.delete(_key(cookie))

    async def end(self, cookie: str | None) -> str | None:
        """Like `close`; returns the user whose session it was, if any. It also works while the revocation view is stale. Raises
        `StoreUnavailable`."""
        session = await self._kept(cookie)
        await self.close(cookie)
        return None if session is None else session.username

    def new_cookie(self) -> str:
        """A cookie for a user who has not logged in."""
        return self._new_secret()

    def set_cookie(self, cookie: str) -> tuple[str, str]:
        """The header that sets the cookie. The browser deletes it when it is closed."""
        return "Set-Cookie", f"{self._name}={cookie}{self._attributes}"

    def clear_cookie(self) -> tuple[str, str]:
        """The header that deletes the cookie."""
        return "Set-Cookie", f"{self._name}={self._attributes}; Max-Age=0"


def csrf_token(cookie: str, page: str) -> str:
    """The token for the forms of a page; `page` is its path and query."""
    return encode(hmac.digest(cookie.encode("ascii"), page.encode("utf-8", "surrogatepass"), "sha256"))


def is_csrf_token(token: str, cookie: str | None, page: str) -> bool:
    """Whether a form was submitted from this page in this browser."""
    return cookie is not None and hmac.compare_digest(
        token.encode("utf-8", "surrogatepass"), csrf_token(cookie, page).encode()
    )


def _key(cookie: str) -> str:
    return f"session:{digest(cookie)}"
