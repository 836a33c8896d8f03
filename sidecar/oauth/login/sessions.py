"""Who is at the browser: a cookie with 256 random bits, whose digest names a session in the store.

Rules:
- The API never sees the cookie (`core.http.cookies`).
- The cookie comes with the first page, before anybody has logged in; a login replaces it, so that nobody can be given a
  session that somebody else knows (session fixation).
- Over TLS its name begins with `__Host-`: no other host and no plain connection can set it (RFC 6265bis section 4.1.3.2).
- `SameSite=Lax`: it comes along when a client sends a browser here, and with no POST from another site.
- A form carries a token that only this cookie and this page give: an HMAC of the page's query, keyed with the cookie.
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
    """Somebody who logged in at `since` (epoch seconds); `mark` is the `password_version` of that time.
    The store has them under these names."""

    username: str
    mark: str
    since: float

    def belongs_to(self, user: User | None) -> bool:
        """Whether it is still this user's: a new password ends it."""
        return user is not None and (user.username, user.password_version) == (self.username, self.mark)


class Sessions:
    """Reads and opens sessions. `ttl` in seconds; `new_secret` gives 32 random bytes in base64url.

    `ended(username, since)` says whether everything that a user began so early was revoked.
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
        """The value of our cookie; `None` when there is none of its form, or more than one."""
        pairs = [pair.strip() for header in request.header_values("cookie") for pair in header.split(";")]
        found = [value for name, _, value in (pair.partition("=") for pair in pairs) if name == self._name]
        return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else None

    async def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if somebody logged in. Raises `StoreUnavailable`."""
        session = await self._kept(cookie)
        return None if session is None or self._ended(session.username, session.since) else session

    async def _kept(self, cookie: str | None) -> Session | None:
        kept = await self._store.get(_key(cookie)) if cookie is not None else None
        return None if kept is None else Session(**json.loads(kept))

    async def open(self, user: User, replaced: str | None) -> str:
        """Begin a session in the place of the cookie `replaced`; gives the new cookie. Raises `StoreUnavailable`."""
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
        """`close`, and whose session it was, if anybody's. It ends as well while nobody knows what was revoked."""
        session = await self._kept(cookie)
        await self.close(cookie)
        return None if session is None else session.username

    def new_cookie(self) -> str:
        """A cookie for somebody who has not logged in."""
        return self._new_secret()

    def set_cookie(self, cookie: str) -> tuple[str, str]:
        """The header that gives the browser its cookie, which goes when the browser is closed."""
        return "Set-Cookie", f"{self._name}={cookie}{self._attributes}"

    def clear_cookie(self) -> tuple[str, str]:
        """The header that takes the cookie away."""
        return "Set-Cookie", f"{self._name}={self._attributes}; Max-Age=0"


def csrf_token(cookie: str, page: str) -> str:
    """The token for the forms of a page, which is its path and query."""
    return encode(hmac.digest(cookie.encode("ascii"), page.encode("utf-8", "surrogatepass"), "sha256"))


def is_csrf_token(token: str, cookie: str | None, page: str) -> bool:
    """Whether a form came from this page in this browser."""
    return cookie is not None and hmac.compare_digest(
        token.encode("utf-8", "surrogatepass"), csrf_token(cookie, page).encode()
    )


def _key(cookie: str) -> str:
    return f"session:{digest(cookie)}"
