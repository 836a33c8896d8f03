"""Who may see the console.

Rules:
- With a token (`admin.token`), a visitor has a session, which the login form gives for the token, or sends the token as
  `Authorization: Bearer`.
- Without a token, the console is shown only by a listener on loopback. A page of another site could reach such a listener
  through the operator's browser, with a name of its own that leads to loopback (DNS rebinding). So `Host` must be a name or an
  address of loopback, and a request that a proxy passed on is refused.
- A browser says which page caused a request (`Sec-Fetch-*`). Pages of other origins may link to the console, and nothing else.
- A form is taken only from a page of the console itself (`Origin`).
- Wrong tokens are counted per address (for IPv6, per network of 64 bits). Beyond the limit every attempt from there is refused
  for a while, whatever the token. Sessions go on.
- A session ends after its time, at a restart, at logout, and when the token changes. Its cookie is random; only its digest is
  kept.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from sidecar.core.throttling import Rate, consume

SESSION: Final = 12 * 3600.0  # seconds
PROXY_FIELDS: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
"""Header fields by which a proxy says that it passed a request on."""
_MOST_SESSIONS: Final = 64
_MOST_ADDRESSES: Final = 1000
_FAILURES: Final = Rate(10, 60.0)
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")


class Visit(NamedTuple):
    """What a request says about who sends it; empty where it says nothing. `peer` is the address of the connection, `session`
    the value of the cookie, `link` whether a browser opens the page itself, and `proxied` whether a proxy has left a mark."""

    host: str
    peer: str
    session: str = ""
    authorization: str = ""
    origin: str = ""
    forwarded_host: str = ""
    site: str = ""
    link: bool = False
    proxied: bool = False


class Verdict(Enum):
    """What becomes of a visit: the status of the answer, and what it says."""

    WELCOME = (200, "")
    FOREIGN = (403, "Another site's page may not read the console. Open it yourself.")
    TOKENLESS = (
        403,
        (
            "The admin listener can be reached from other machines, and the console shows what they should not see. "
            "Set admin.token in the configuration: the console then asks for it."
        ),
    )
    OTHER_NAME = (
        403,
        (
            "Without admin.token, the console is shown only under a name or an address of this machine, such as "
            "http://localhost or http://127.0.0.1. Use one of these, or set admin.token in the configuration."
        ),
    )
    PROXIED = (
        403,
        (
            "The request came through a proxy, so anybody may have sent it. Set admin.token in the configuration: the "
            "console then asks for it."
        ),
    )
    ASK = (401, "")
    WRONG = (401, "This is not the token in admin.token.")
    THROTTLED = (429, "Too many wrong tokens came from your address. Wait a minute, and try again.")

    def __init__(self, status: int, text: str) -> None:
        self.status: Final = status
        self.text: Final = text


class Gate:
    """Decides. `token` gives the token in force, `beyond` says whether other machines reach the listener, `monotonic` gives
    seconds, and `new_secret` 256 random bits as text."""

    def __init__(
        self,
        token: Callable[[], str | None],
        *,
        beyond: bool,
        monotonic: Callable[[], float],
        new_secret: Callable[[], str],
    ) -> None:
        self._token = token
        self._beyond = beyond
        self._monotonic = monotonic
        self._new_secret = new_secret
        self._sessions: dict[str, tuple[float, bytes]] = {}  # by digest: its end, and the digest of its token
        self._full_at: dict[str, float] = {}  # the budget of failures of each address

    def __repr__(self) -> str:
        return f"<Gate {len(self._sessions)} sessions>"

    def admit(self, visit: Visit) -> Verdict:
        """Whether the visitor may read the console."""
        if visit.site not in ("", "same-origin", "none") and not visit.link:
            return Verdict.FOREIGN
        token = self._token()
        if token is None:
            return self._without_token(visit)
        scheme, _, given = visit.authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._judge(visit.peer, given.strip(), token)
        return Verdict.WELCOME if self._in_session(visit.session, token) else Verdict.ASK

    def _without_token(self, visit: Visit) -> Verdict:
        if self._beyond:
            return Verdict.TOKENLESS
        if not is_loopback(visit.host):
            return Verdict.OTHER_NAME
        return Verdict.PROXIED if visit.proxied else Verdict.WELCOME

    @property
    def asks(self) -> bool:
        """Whether there is a token, so that a visitor can log in and out."""
        return self._token() is not None

    def log_in(self, visit: Visit, given: str) -> tuple[Verdict, str]:
        """The verdict about a login form, and the new session's secret when it is `WELCOME`."""
        token = self._token()
        if not own_form(visit):
            return Verdict.FOREIGN, ""
        if token is None:
            return self._without_token(visit), ""
        verdict = self._judge(visit.peer, given.strip(), token)
        if verdict is not Verdict.WELCOME:
            return verdict, ""
        now, secret = self._monotonic(), self._new_secret()
        self._sessions = {name: each for name, each in self._sessions.items() if each[0] > now}
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(secret).hex()] = (now + SESSION, _digest(token))
        return verdict, secret

    def log_out(self, visit: Visit) -> bool:
        """End the session. Returns false when another site's page sent the form."""
        if not own_form(visit):
            return False
        self._sessions.pop(_digest(visit.session).hex(), None)
        return True

    def _in_session(self, secret: str, token: str) -> bool:
        end, begun_with = self._sessions.get(_digest(secret).hex(), (0.0, b""))
        return self._monotonic() < end and hmac.compare_digest(begun_with, _digest(token))

    def _judge(self, peer: str, given: str, token: str) -> Verdict:
        address, now = _network(peer), self._monotonic()
        result, left = consume(self._full_at.get(address, now), _FAILURES, now)
        if not result.taken:
            return Verdict.THROTTLED
        if hmac.compare_digest(_digest(given), _digest(token)):
            return Verdict.WELCOME
        if len(self._full_at) >= _MOST_ADDRESSES:
            self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) >= _MOST_ADDRESSES and address not in self._full_at:
            # Who has failed least makes room, so that nobody gets rid of his own failures, or goes uncounted.
            del self._full_at[min(self._full_at, key=self._full_at.__getitem__)]
        self._full_at[address] = left
        return Verdict.WRONG


def own_form(visit: Visit) -> bool:
    """Whether a form comes from a page of the console, or from a program that is no browser."""
    if visit.site not in ("", "same-origin", "none"):
        return False
    if not visit.origin:
        return visit.site != "none"
    # A proxy may have replaced Host; no page can have a browser send a form with X-Forwarded-Host.
    return visit.origin.partition("://")[2] in {name for name in (visit.host, visit.forwarded_host) if name}


def is_loopback(host: str) -> bool:
    """Whether a `Host` field names this machine by loopback."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3: always loopback
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _network(peer: str) -> str:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
