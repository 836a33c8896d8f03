"""oauth.login.passwords: a queue that never grows, and failures that are counted."""

import asyncio
import contextlib
import threading

import pytest

from sidecar.core.oauth.users import User, UserDirectory, hash_password
from sidecar.core.reasons import Reason, Refused
from sidecar.oauth.login.passwords import Logins
from sidecar.oauth.slow_hashes import SlowHashes


class SlowUsers(UserDirectory):
    """Checks passwords when a test lets it."""

    def __init__(self) -> None:
        super().__init__([User("anna", hash_password("secret"))], bytes(32))
        self.release = threading.Event()

    def authenticate(self, username: str, password: str) -> User:
        self.release.wait(20)
        return super().authenticate(username, password)


class Failures:
    """A throttle that stops whoever failed once."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []

    def open(self, username: str, peer: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def check(self, username: str, peer: str) -> None:
        if (username, peer) in self.counted:
            raise Refused(Reason.THROTTLED)

    async def failed(self, username: str, peer: str) -> None:
        self.counted.append((username, peer))


async def test_a_queue_of_passwords_never_grows_and_holds_up_nobody() -> None:
    users, failures = SlowUsers(), Failures()
    with contextlib.closing(SlowHashes("passwords")) as hashes:
        logins = Logins(users, failures, hashes)
        loop = asyncio.get_running_loop()
        first = [loop.create_task(logins.check("anna", "secret", "p")) for _ in range(12)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await logins.check("anna", "secret", "p")
        assert caught.value.reason is Reason.THROTTLED
        first += [loop.create_task(logins.check("anna", "secret", "another")) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await logins.check("anna", "secret", "a third")
        assert caught.value.reason is Reason.THROTTLED
        users.release.set()
        assert [user.username for user in await asyncio.gather(*first)] == ["anna"] * 16
        assert (await logins.check("anna", "secret", "p")).username == "anna"
    assert failures.counted == []


async def test_failures_are_counted_and_who_has_to_wait_costs_no_hash() -> None:
    users, failures = SlowUsers(), Failures()
    users.release.set()
    with contextlib.closing(SlowHashes("passwords")) as hashes:
        logins = Logins(users, failures, hashes)
        for reason in (Reason.BAD_CREDENTIALS, Reason.THROTTLED):
            with pytest.raises(Refused) as caught:
                await logins.check("anna", "wrong", "p")
            assert caught.value.reason is reason
    assert failures.counted == [("anna", "p")]
