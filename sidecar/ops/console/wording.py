"""What the console says about reasons, in words for somebody who has not read the code."""

from typing import Final, NamedTuple

from sidecar.core.reasons import Plane, Reason

_WHO: Final = {
    Plane.PROTECTED: "the caller's token",
    Plane.TOKEN: "who asks for a token",
    Plane.REQUEST: "the caller's software",
    Plane.UPSTREAM: "the API",
    Plane.SIDECAR: "the sidecar",
}
_DO: Final = {
    Plane.PROTECTED: "The caller gets a new token. sidecar tokens inspect explains one.",
    Plane.TOKEN: "Compare the client's settings with its entry in the configuration.",
    Plane.REQUEST: "The caller's software or network is at fault; see timeouts and limits in the configuration.",
    Plane.UPSTREAM: "Look at the API: the last refusals name its address and the cause.",
    Plane.SIDECAR: "See what needs attention above.",
}
_DO_ABOUT: Final = {
    Reason.MISSING_TOKEN: "The caller sends an access token, or the route becomes public.",
    Reason.BAD_SIGNATURE: "Somebody changed the token, or another key signed it.",
    Reason.UNKNOWN_KEY: "The key was removed, or the token comes from another sidecar. Compare the signing keys.",
    Reason.EXPIRED: "The caller gets a new token before the old one expires.",
    Reason.NOT_YET_VALID: "Compare the clocks of the sidecars.",
    Reason.WRONG_ISSUER: "Compare tokens.issuer with the sidecar that made the token.",
    Reason.WRONG_AUDIENCE: "Compare tokens.audience with the sidecar that made the token.",
    Reason.REVOKED: "The caller gets a new token. Somebody ended this one.",
    Reason.PROTECTED_CLIENT_DISABLED: "The client has disabled: true in the configuration.",
    Reason.INSUFFICIENT_SCOPE: "Give the client the scope of the route, or let it request that scope.",
    Reason.DENIED_BY_ROUTE: "The route has access: deny in the configuration.",
    Reason.AMBIGUOUS_PATH: "The caller sends a plain path. Many of these may be an attack.",
    Reason.AMBIGUOUS_METHOD: "The caller sends no header that names another method.",
    Reason.BODY_TOO_LARGE: "See limits.body.",
    Reason.UNKNOWN_CLIENT: "No client has this id in the configuration.",
    Reason.BAD_CLIENT_SECRET: "The client uses a wrong secret. Many of these may be an attack.",
    Reason.CLIENT_DISABLED: "The client has disabled: true in the configuration.",
    Reason.THROTTLED: "Too many attempts failed. It ends by itself; see throttling in the configuration.",
    Reason.BAD_CREDENTIALS: "A user typed a wrong name or password. Many of these may be an attack.",
    Reason.UPSTREAM_TIMEOUT: "The API is too slow; see timeouts.response.",
    Reason.STORE_UNAVAILABLE: "Look at the store: without it nobody knows what was revoked.",
    Reason.OVERLOADED: "A limit of a worker is reached: see limits, upstream.max_connections and memory.",
    Reason.INTERNAL: "A defect of the sidecar: internal_error in the log has the traceback.",
}
_BY_KEY: Final = {f"{reason.plane.value} {reason.word}": reason for reason in Reason}


class Words(NamedTuple):
    """A reason in words: the word in the log, what it means, who is at fault, and what to do."""

    word: str
    meaning: str
    who: str
    remedy: str


def words_of(key: str) -> Words:
    """The words for a `plane reason`, also for one that is not known here."""
    reason = _BY_KEY.get(key)
    if reason is None:
        return Words(key.rpartition(" ")[2], "", "", "")
    return Words(reason.word, reason.sentence, _WHO[reason.plane], _DO_ABOUT.get(reason, _DO[reason.plane]))


def amount(seconds: float) -> str:
    """A duration in at most two units, such as `3 d 4 h`, `12 min` or `4.2 s`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + " s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"


def size(number: int) -> str:
    """A size, such as `12.5 MiB`."""
    value, units = float(number), ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def number(count: int) -> str:
    """A count with spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"
