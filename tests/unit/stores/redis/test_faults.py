"""What an exception of redis-py tells the operator."""

import asyncio
import ssl

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sidecar.core.ports import StoreUnavailable
from sidecar.stores.redis.faults import NotPrimary, describe, lost, translated

# What Redis answers, and what is said about it.
ANSWERS = {
    "WRONGPASS invalid username-password pair or user is disabled.": (
        "h:1: the server refuses the name or password (WRONGPASS invalid username-password pair or user is disabled.)"
    ),
    "NOPERM this user has no permissions to run the 'role' command": (
        "h:1: the user may not run the commands that are needed (NOPERM this user has no permissions to run the 'role' command)"
    ),
    "READONLY You can't write against a read only replica.": (
        "h:1: the server is a read-only replica (READONLY You can't write against a read only replica.)"
    ),
    "LOADING Redis is loading the dataset in memory": (
        "h:1: the server is loading its data (LOADING Redis is loading the dataset in memory)"
    ),
    "CLUSTERDOWN Hash slot not served": "h:1: the Cluster is down (CLUSTERDOWN Hash slot not served)",
    "MOVED 1 10.0.0.1:6379": (
        "h:1: the server is a node of a Cluster and does not have this slot (MOVED 1 10.0.0.1:6379)"
    ),
    "TRYAGAIN Multiple keys request during rehashing of slot": (
        "h:1: a slot of the Cluster is being moved (TRYAGAIN Multiple keys request during rehashing of slot)"
    ),
    "MISCONF Errors writing to the AOF file": "h:1: the server refuses the command (MISCONF Errors writing to the AOF file)",
    "ERR unknown command 'ZMSCORE', with args beginning with: '{sidecar}:revoked' 'canary'": (
        "h:1: the server refuses the command (ERR unknown command 'ZMSCORE')"
    ),
    "OOM command not allowed when used memory > 'maxmemory'. script: 06ecfc15203d2791c3822937827e635045b37ecd, on @user_script:41.": (
        "h:1: the server is out of memory (OOM command not allowed when used memory > 'maxmemory'.)"
    ),
    "ERR a\x1b[31mb\r\nc": "h:1: the server refuses the command (ERR a [31mb c)",
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_fault_has_the_place_and_the_words_of_redis(answer: str) -> None:
    exception = BaseParser.parse_error(answer)
    assert describe(exception, "h:1") == ANSWERS[answer]


def test_the_words_are_bounded() -> None:
    assert len(describe(BaseParser.parse_error("ERR " + "x" * 5000), "h:1")) < 300


def test_the_command_of_a_pipeline_is_not_quoted() -> None:
    exception = BaseParser.parse_error("NOPERM not you")
    exception.args = (f"Command # 1 (HMGET canary a) of pipeline caused error: {exception.args}",)
    assert describe(exception, "h:1").endswith("needed (NOPERM ('not you',))")


@pytest.mark.parametrize("words", ["Connection refused", "Connect call failed ('10.0.0.5', 6379)"])
def test_the_words_of_the_system_are_those_below_the_client_library(words: str) -> None:
    async def connect() -> None:
        try:
            raise ConnectionRefusedError(111, words)
        except OSError:
            raise RedisConnectionError("Error 111 connecting to h:1.")  # noqa: B904  as redis-py does

    with pytest.raises(RedisConnectionError) as caught:
        asyncio.run(connect())
    assert describe(caught.value, "h:1") == "h:1: no connection (Connection refused)"
    assert not lost(caught.value)


def test_a_missing_file_is_named() -> None:
    fault = FileNotFoundError(2, "No such file or directory", "/etc/ca.pem")
    assert describe(fault, "h:1") == "h:1: no connection (No such file or directory: /etc/ca.pem)"


def test_a_certificate_says_why() -> None:
    fault = ssl.SSLCertVerificationError("x")
    fault.verify_message = "certificate has expired"
    assert describe(fault, "h:1") == "h:1: the server's certificate is not trusted (certificate has expired)"


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (TimeoutError(), "h:1: no answer in time"),
        (RedisError("x"), "h:1: no connection"),
        (LookupError("canary"), "h:1: the connection failed (LookupError)"),
        (NotPrimary("the server is a replica"), "h:1: the server is a replica"),
        (StoreUnavailable("no sentinel answers"), "no sentinel answers"),
    ],
)
def test_other_faults(exc: Exception, said: str) -> None:
    assert describe(exc, "h:1") == said


async def test_every_exception_is_translated_and_chained() -> None:
    cause = LookupError()
    with pytest.raises(StoreUnavailable, match=r"^here: ") as caught:
        async with translated(lambda: "here"):
            raise cause
    assert caught.value.__cause__ is cause


async def test_a_cancellation_is_not_lost() -> None:
    async def swallow() -> None:
        async with translated(lambda: "here"):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                raise TimeoutError from None

    task = asyncio.get_running_loop().create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
