"""Clients of every kind that go on asking every worker while something fails: what each saw in each second, and what must not be.

Each kind of question has a connection of its own to each worker, which it keeps; `public` connects each time. The kinds, and what they get when nothing fails:

    valid     a protected route with a valid token                              200
    revoked   the same with tokens that were revoked before the fault           401
    invalid   the same with a signature that is wrong                           401
    none      the same without a token                                          401
    public    a public route                                                    200
    token     `POST /oauth/token`, client credentials                           200
    refresh   one refresh token after the other                                 200
    revoke    `POST /oauth/revoke` for a token that was just used               200

What must not be, whatever fails, is in `faults` (`Probes._judge` and `_judge_lately`). A connection that fails has a word instead
of a status: `refused`, `cut` (closed without an answer), `silent` (no answer within `PATIENCE`).
"""

import contextlib
import http.client
import itertools
import json
import secrets
import threading
import time
import urllib.parse
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple, Self

from tests.support.process import Sidecar
from tests.support.tcp import process_of
from tests.support.traffic import CLIENT, REFRESHING, Threads

PATIENCE: Final = 3.0
GOOD: Final = {
    "valid": "200",
    "revoked": "401",
    "invalid": "401",
    "none": "401",
    "public": "200",
    "token": "200",
    "refresh": "200",
    "revoke": "200",
}
_STORE_MISSING: Final = {"valid": "503", "revoked": "503", "refresh": "503", "revoke": "503"}
LOST: Final = ("refused", "cut", "silent")
_PAUSE: Final = 0.04
_TRIES: Final = 6
_CHECKED_EVERY: Final = 25  # questions
_SETTLED: Final = 1.0  # seconds without a bad answer, after which nothing is wrong any more
_FORM: Final = "application/x-www-form-urlencoded"


class Answer(NamedTuple):
    """`asked` and `at` (when the answer came) are monotonic seconds; `worker` is the id of the process, 0 if unknown."""

    kind: str
    slot: int
    asked: float
    at: float
    worker: int
    code: str
    reason: str = ""


class Line:
    """A connection to one worker that is opened again when it has ended. `slot` says which of the workers, in the order of their
    process ids; when that one accepts nobody, any other. `None`: any, and each question has a connection of its own."""

    def __init__(self, sidecar: Callable[[], Sidecar], slot: int | None) -> None:
        self._sidecar = sidecar
        self._slot = slot
        self._connection: http.client.HTTPConnection | None = None
        self.worker = 0

    def get(self, path: str, token: str | None = None) -> tuple[str, str]:
        """Code, and the body."""
        return self._ask("GET", path, None, {"Authorization": f"Bearer {token}"} if token else {})

    def post(self, path: str, **form: str) -> tuple[str, str]:
        """The same for a form."""
        return self._ask("POST", path, urllib.parse.urlencode(form), {"Content-Type": _FORM})

    def close(self) -> None:
        """The next question opens another connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Close the connection, unless it leads to the worker that is meant."""
        if self._slot is not None and self.worker != _worker(self._sidecar(), self._slot):
            self.close()

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> tuple[str, str]:
        try:
            if self._connection is None:
                self._open()
            assert self._connection
            return self._exchange(self._connection, method, path, body, headers)
        except TimeoutError:
            lost = "silent"
        except ConnectionRefusedError:
            lost = "refused"
        except (OSError, http.client.HTTPException):
            lost = "cut"
        self.close()
        return lost, ""

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: str | None,
        headers: Mapping[str, str],
    ) -> tuple[str, str]:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        text = response.read().decode()
        if connection.sock is None or self._slot is None:  # `Connection: close`
            self.close()
        return str(response.status), text

    def _open(self) -> None:
        """Only once a process has accepted a connection does the kernel say which."""
        for _ in range(_TRIES if self._slot is not None else 0):
            self.close()
            connection = self._connection = self._connected()
            self._exchange(connection, "GET", "/open/which", None, {})
            workers = _workers(self._sidecar())
            self.worker = process_of(connection.sock, workers) if connection.sock and len(workers) > 1 else workers[0]
            if self.worker == _worker(self._sidecar(), self._slot or 0):
                break
        if self._connection is None:
            self._connection, self.worker = self._connected(), 0

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._sidecar().address, timeout=PATIENCE)


def _workers(sidecar: Sidecar) -> list[int]:
    """The processes that serve; its own when it serves alone or has just ended."""
    with contextlib.suppress(OSError):
        return sorted(sidecar.workers()) or [sidecar.process.pid]
    return [sidecar.process.pid]


def _worker(sidecar: Sidecar, slot: int) -> int:
    workers = _workers(sidecar)
    return workers[slot % len(workers)]


class Probes(Threads):
    """Asks until it is left. `sidecar` gives the sidecar that serves now. `bound`: so many seconds after a revocation was
    confirmed, no worker may admit the token. `more`: further codes that a kind may get while the fault lasts."""

    def __init__(
        self,
        sidecar: Callable[[], Sidecar],
        *,
        workers: int,
        bound: float,
        more: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        super().__init__()
        self._sidecar = sidecar
        self._bound = bound
        self._more = {kind: set(codes) for kind, codes in (more or {}).items()}
        self._begun = 0.0  # of the fault
        self._lock = threading.Lock()
        self.answers: list[Answer] = []
        self.faults: list[str] = []
        self.longest = 0.0
        """Seconds after its revocation was confirmed in which some worker still admitted a token."""
        self._valid = self._fresh = sidecar().token()
        self._revoked = [sidecar().token() for _ in range(3)]
        self._lately: deque[tuple[str, float | None]] = deque(maxlen=6)  # and when it was confirmed, if it was
        self._refused: dict[str, set[int]] = defaultdict(set)  # which workers have refused a token as revoked
        work = {
            "valid": self._ask_valid,
            "revoked": self._ask_revoked,
            "invalid": self._ask_invalid,
            "none": lambda line, slot: self._get("none", line, slot, None),
            "public": lambda line, slot: self._note("public", line, slot, partial(line.get, "/open")),
            "token": self._ask_token,
            "refresh": self._refresh,
            "revoke": self._revoke,
        }
        self._threads = [
            threading.Thread(target=self._run, args=(kind, work[kind], slot))
            for kind in GOOD
            for slot in range(workers)
        ]
        self._slots = [(kind, slot) for kind in GOOD for slot in range(workers)]

    # What they do.

    def _run(self, kind: str, work: Callable[[Line, int], object], slot: int) -> None:
        line = Line(self._sidecar, None if kind == "public" else slot)
        try:
            for number in itertools.count():
                if self._ended.wait(_PAUSE):
                    return
                if number % _CHECKED_EVERY == 0:
                    line.check()
                work(line, slot)
        except Exception as exc:  # noqa: BLE001  any of them fails the test
            self.faults.append(repr(exc))
        finally:
            line.close()

    def _note(self, kind: str, line: Line, slot: int, ask: Callable[[], tuple[str, str]]) -> tuple[Answer, str]:
        asked = time.monotonic()
        code, text = ask()
        reason = ""
        if code not in ("200", *LOST):
            with contextlib.suppress(ValueError):
                reason = str(json.loads(text).get("reason", ""))
        answer = Answer(kind, slot, asked, time.monotonic(), line.worker, code, reason)
        self._judge(answer)
        with self._lock:
            self.answers.append(answer)
        return answer, text

    def _get(self, kind: str, line: Line, slot: int, token: str | None) -> Answer:
        return self._note(kind, line, slot, partial(line.get, "/orders", token))[0]

    def _ask_valid(self, line: Line, slot: int) -> None:
        self._get("valid", line, slot, self._valid)
        self._get("valid", line, slot, self._fresh)

    def _ask_revoked(self, line: Line, slot: int) -> None:
        for token in self._revoked:
            self._get("revoked", line, slot, token)
        for token, confirmed in list(self._lately):
            asked = time.monotonic()
            code, _ = line.get("/orders", token)
            self._judge_lately(token, confirmed, asked, code, line.worker)

    def _ask_invalid(self, line: Line, slot: int) -> None:
        signed = self._valid.rpartition(".")[0]
        self._get("invalid", line, slot, f"{signed}.{secrets.token_urlsafe(32)}")

    def _ask_token(self, line: Line, slot: int) -> None:
        token = self._token(line, slot)
        if token:
            self._fresh = token

    def _token(self, line: Line, slot: int) -> str:
        ask = partial(line.post, "/oauth/token", grant_type="client_credentials", **CLIENT)
        answer, text = self._note("token", line, slot, ask)
        return str(json.loads(text)["access_token"]) if answer.code == "200" else ""

    def _refresh(self, line: Line, slot: int) -> None:
        """One rotation after the other; a client tries again after 503, and begins again when the grant has ended."""
        code, text = line.post("/oauth/token", grant_type="client_credentials", **REFRESHING)
        while code == "200":
            refresh = json.loads(text)["refresh_token"]
            form = {"grant_type": "refresh_token", "refresh_token": refresh, **REFRESHING}
            ask = partial(line.post, "/oauth/token", **form)
            answer, text = self._note("refresh", line, slot, ask)
            while answer.code in ("503", *LOST) and not self._ended.wait(_PAUSE):
                answer, text = self._note("refresh", line, slot, ask)
            code = answer.code
            if self._ended.wait(_PAUSE):
                return

    def _revoke(self, line: Line, slot: int) -> None:
        """A token that this worker has admitted; a client tries again until it is told that the token is revoked."""
        token = self._token(line, slot)
        if not token:
            return
        line.get("/orders", token)
        ask = partial(line.post, "/oauth/revoke", token=token, **CLIENT)
        answer, _ = self._note("revoke", line, slot, ask)
        if answer.code != "200":
            self._lately.append((token, None))
            while answer.code in ("503", *LOST) and not self._ended.wait(_PAUSE):
                answer, _ = self._note("revoke", line, slot, ask)
        if answer.code == "200":
            self._lately.append((token, answer.at))
            code, worker = line.get("/orders", token)[0], line.worker
            if code == "200" and worker and worker == answer.worker:
                self.faults.append(f"the worker {worker} confirmed a revocation and then admitted the token")

    # What must not be.

    def _judge(self, answer: Answer) -> None:
        good = GOOD[answer.kind]
        allowed = {good, _STORE_MISSING.get(answer.kind, good)} | self._more.get(answer.kind, set())
        if not self._begun:
            allowed = {good}
        if answer.code not in allowed:
            self.faults.append(f"{answer} at {answer.asked - self._begun:.2f} s")

    def _judge_lately(self, token: str, confirmed: float | None, asked: float, code: str, worker: int) -> None:
        if code == "401":
            self._refused[token].add(worker)
        if code != "200":
            return
        if worker and worker in self._refused[token]:
            self.faults.append(f"the worker {worker} refused a token as revoked and admitted it later")
        if confirmed is not None and asked > confirmed:
            self.longest = max(self.longest, asked - confirmed)
            if asked > confirmed + self._bound:
                self.faults.append(f"a token was admitted {asked - confirmed:.2f} s after its revocation was confirmed")

    # The course of a test.

    def settle(self, within: float = 20) -> None:
        """Wait until every kind has been answered well a few times by every worker."""
        self._wait_for_good(time.monotonic(), time.monotonic() + within)

    def begin(self) -> float:
        """The fault begins now."""
        self._begun = time.monotonic()
        return self._begun

    def lasts(self, seconds: float) -> None:
        """Let the fault last; it is observed all the time."""
        time.sleep(seconds)

    def recover(self, *, within: float = 10) -> float:
        """The fault is over now: wait until nothing is wrong any more. Seconds from now to the last bad answer, at most `within`."""
        healed = time.monotonic()
        while True:
            with self._lock:
                bad = [each for each in self.answers if each.at > healed and each.code != GOOD[each.kind]]
            last = max((each.at for each in bad), default=healed)
            assert last - healed <= within, f"not well {within} s after it was over: {bad[-5:]}"
            if time.monotonic() - last > _SETTLED and self._good_since(last):
                return last - healed
            assert time.monotonic() - healed < within + 2 * PATIENCE, "no answers"
            time.sleep(0.05)

    def _wait_for_good(self, since: float, deadline: float) -> None:
        while not self._good_since(since):
            assert time.monotonic() < deadline, self.faults[:5] or self.answers[-20:]
            time.sleep(0.05)

    def _good_since(self, since: float) -> bool:
        with self._lock:
            good = [
                (each.kind, each.slot) for each in self.answers if each.asked > since and each.code == GOOD[each.kind]
            ]
        return all(good.count(each) >= 3 for each in self._slots)

    def workers(self, kind: str, since: float) -> set[int]:
        """The workers that answered this kind."""
        with self._lock:
            return {each.worker for each in self.answers if each.kind == kind and each.asked > since}

    def _by_second(self, kind: str) -> list[str]:
        """The codes of this kind in each second from the beginning of the fault, joined."""
        seconds: dict[int, set[str]] = defaultdict(set)
        with self._lock:
            for each in self.answers:
                if each.kind == kind and each.at >= self._begun:
                    seconds[int(each.at - self._begun)].add(each.code)
        return [" ".join(sorted(seconds[number])) for number in range(max(seconds, default=-1) + 1)]

    def summary(self, kind: str) -> str:
        """The codes of this kind by second, equal seconds together: `0–4: 200, 5: 200 503`."""
        parts, number = [], 0
        for codes, group in itertools.groupby(self._by_second(kind)):
            last = number + len(list(group)) - 1
            if codes:
                parts.append(f"{number}: {codes}" if last == number else f"{number}–{last}: {codes}")
            number = last + 1
        return parts[0].partition(": ")[2] if len(parts) == 1 else ", ".join(parts)

    def __enter__(self) -> Self:
        line = Line(self._sidecar, 0)
        for token in self._revoked:
            assert line.post("/oauth/revoke", token=token, **CLIENT)[0] == "200"
        line.close()
        deadline = time.monotonic() + 10
        for slot in range(len(self._slots) // len(GOOD)):
            line = Line(self._sidecar, slot)
            while {line.get("/orders", token)[0] for token in self._revoked} != {"401"}:
                assert time.monotonic() < deadline
            line.close()
        return super().__enter__()
