"""What an operator should look at, in words: the first thing on the page.

The worst comes first. Each notice says what is wrong, what follows from it for requests, and what to do.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from sidecar.ops.console.facts import Facts, StoreFacts
from sidecar.ops.console.history import Minute, is_failure
from sidecar.ops.console.wording import amount, number, plural, words_of

_SOON: Final = 14 * 86400.0  # seconds before a certificate ends
_SKEWED: Final = 2.0  # seconds
_RECENT: Final = 5  # minutes
_MANY: Final = 20  # refusals in these minutes
_SHARE: Final = 0.2
_FULL: Final = 0.8
_MOST: Final = 8  # texts of one kind


class Level(IntEnum):
    """How bad it is."""

    BAD = 0
    WARNING = 1
    NOTE = 2


class Notice(NamedTuple):
    """One thing to look at; `more` are lines of detail."""

    level: Level
    title: str
    text: str
    more: Sequence[str] = ()


def notices(facts: Facts, minutes: Sequence[Minute]) -> list[Notice]:
    """Everything to look at; empty when all is well."""
    found = [*_requests(minutes[-_RECENT:]), *(notice for look in _LOOKS for notice in look(facts))]
    return sorted(found, key=lambda notice: notice.level)


def _leaving(facts: Facts) -> Iterator[Notice]:
    if facts.draining:
        text = "It serves what it has, and is not ready, so that balancers send new requests elsewhere."
        yield Notice(Level.NOTE, "The sidecar is going away", text)


def _ready(facts: Facts) -> Iterator[Notice]:
    if not facts.ready and not facts.draining:
        wrong = [f"{name}: {text}" for name, text in facts.checks.items() if text != "ok"]
        text = "/readyz says no, so balancers send it nothing."
        yield Notice(Level.BAD, "The sidecar is not ready", text, [*wrong, _examine(facts)])


def _workers(facts: Facts) -> Iterator[Notice]:
    missing = facts.wanted - len(facts.workers)
    if missing > 0:
        title = f"{missing} of {plural(facts.wanted, 'worker')} do not answer"
        why = facts.cannot_start or "worker_died, worker_hung and worker_cannot_start in the log tell why."
        yield Notice(Level.BAD, title, "The others serve; the parent tries again.", [why])


def _store(facts: Facts) -> Iterator[Notice]:
    stores = [worker.store for worker in facts.workers]
    away = [store for store in stores if not store.up or not store.known]
    if away:
        remedy = f"Bring the store back; the sidecar connects by itself. {_examine(facts)}"
        more = [*_texts(away, "fault"), remedy]
        yield Notice(Level.BAD, "The store does not answer", _effect(away, facts.max_staleness), more)
    if locked := [store for store in stores if store.fault_of_writes]:
        text = "Tokens that were revoked before are refused. New revocations, refresh tokens and logins fail."
        yield Notice(Level.BAD, "The store takes no writes", text, _texts(locked, "fault_of_writes"))
    skew = max((store.skew for store in stores), key=abs, default=0.0)
    if abs(skew) > _SKEWED:
        text = "Let both machines synchronise their clocks: lifetimes of tokens are measured with them."
        yield Notice(
            Level.WARNING, f"The store's clock is {amount(abs(skew))} {'ahead' if skew > 0 else 'behind'}", text
        )
    if unreadable := max((store.unreadable for store in stores), default=0):
        title = f"{plural(unreadable, 'entry', 'entries')} of the store cannot be read"
        yield Notice(Level.WARNING, title, "What they name is refused. Something else writes below store.prefix.")


def _effect(away: Sequence[StoreFacts], max_staleness: float) -> str:
    oldest = max(store.staleness for store in away)
    if all(store.known for store in away):
        left = amount(max_staleness)
        return f"Requests are still admitted; {left} after the last answer they get 503, unless on_outage allows more."
    age = "not known yet" if oldest >= 1e9 else f"{amount(oldest)} old"
    return f"Requests that need a token get 503, unless on_outage allows more: what is known of revocations is {age}."


def _texts(stores: Sequence[StoreFacts], name: str) -> list[str]:
    return list(dict.fromkeys(text for store in stores if (text := getattr(store, name))))


def _upstreams(facts: Facts) -> Iterator[Notice]:
    skipped: dict[str, str] = {}
    for worker in facts.workers:
        for upstream in worker.upstreams:
            if upstream.skipped > 0:
                skipped[upstream.url] = upstream.fault or skipped.get(upstream.url, "")
    everywhere = {upstream.url for worker in facts.workers for upstream in worker.upstreams}
    if skipped:
        every = len(skipped) == len(everywhere)
        title = "The API does not answer properly" if every else "An address of the API is passed over"
        text = "Requests get 502 or 504." if every else "The other addresses get its requests for a while."
        lines = [f"{url}: {fault}" if fault else url for url, fault in skipped.items()]
        remedy = f"Start or repair the API; the sidecar tries it by itself. {_examine(facts)}"
        yield Notice(Level.BAD if every else Level.WARNING, title, text, [*lines, remedy])


def _examine(facts: Facts) -> str:
    return f"For the cause and the remedy: sidecar doctor --config {facts.configuration.file}"


def _configuration(facts: Facts) -> Iterator[Notice]:
    configuration = facts.configuration
    if configuration.faults:
        text = "The sidecar continues with the configuration that it has. Correct the file; it is read again by itself."
        yield Notice(Level.WARNING, "The configuration file has faults", text, configuration.faults[:_MOST])
    elif configuration.at_restart:
        text = "The rest of the file is in force."
        yield Notice(Level.NOTE, "Changes wait for a restart", text, configuration.at_restart[:_MOST])


def _certificates(facts: Facts) -> Iterator[Notice]:
    for each in facts.certificates:
        if each.fault:
            yield Notice(Level.WARNING, f"{each.name}: {each.fault}", each.file)
        elif each.not_after is not None and (left := each.not_after - facts.now) < _SOON:
            when = f"expired {amount(-left)} ago" if left <= 0 else f"expires in {amount(left)}"
            yield Notice(Level.BAD if left <= 0 else Level.WARNING, f"{each.name} {when}", f"Renew {each.file}.")


def _keys(facts: Facts) -> Iterator[Notice]:
    if facts.keys_lapsed:
        text = "The last one goes on signing. Add a key to tokens.signing_keys: the next start would be refused."
        yield Notice(Level.BAD, "No signing key is within its time", text)


def _memory(facts: Facts) -> Iterator[Notice]:
    full = [worker for worker in facts.workers if worker.memory_held > _FULL * worker.memory_limit > 0]
    if full:
        text = "Beyond the limit the sidecar refuses those who hold most. See limits.memory."
        yield Notice(Level.WARNING, f"{plural(len(full), 'worker')} near the limit of memory", text)


def _requests(minutes: Sequence[Minute]) -> Iterator[Notice]:
    requests = sum(minute.requests for minute in minutes)
    failed, refused = sum(minute.failed for minute in minutes), sum(minute.refused for minute in minutes)
    lately = f"in the last {_RECENT} minutes"
    if failed:
        text = "Neither the callers nor their tokens are at fault."
        title = f"{plural(failed, 'request')} failed {lately}"
        yield Notice(Level.WARNING, title, text, _top(minutes, failures=True))
    if refused >= _MANY and refused > _SHARE * requests:
        title = f"{round(100 * refused / requests)} % of requests were refused {lately}"
        yield Notice(Level.WARNING, title, "The callers are at fault.", _top(minutes, failures=False))


def _top(minutes: Sequence[Minute], *, failures: bool) -> list[str]:
    counts: Counter[str] = Counter()
    for minute in minutes:
        counts.update({key: count for key, count in minute.reasons.items() if is_failure(key) is failures})
    lines = []
    for key, count in counts.most_common(3):
        words = words_of(key)
        lines.append(f"{number(count)} × {words.word}: {words.remedy}")
    return lines


_LOOKS: Final[Sequence[Callable[[Facts], Iterator[Notice]]]] = (
    _leaving,
    _ready,
    _workers,
    _store,
    _upstreams,
    _memory,
    _configuration,
    _keys,
    _certificates,
)
