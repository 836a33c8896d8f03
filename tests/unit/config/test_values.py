"""The values of the file: what is accepted, what is refused, and how a fault says what would be right."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from sidecar.config.values import Address, parse_address, parse_duration, parse_moment, parse_size
from tests.support.settings import assert_refused, changed, settings_of

DURATIONS = {"500ms": 0.5, "1s": 1, "15m": 900, "1.5h": 5400, "14d": 1209600, "0s": 0}


NO_DURATIONS = ["", "5", 5, None, True, "5 s", "-5s", "5S", "1e3s", "s", "5sec", "1h30m", "٣s", "inf", [], "5s\n"]


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert parse_duration(text) == DURATIONS[text]


@pytest.mark.parametrize("value", NO_DURATIONS)
def test_what_is_no_duration_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="30s"):
        parse_duration(value)


SIZES = {"0B": 0, "512B": 512, "64KiB": 65536, "10MiB": 10 * 1024**2, "1GiB": 1024**3}


NO_SIZES = ["", "5", 5, None, "5KB", "5k", "-1B", "1.5KiB", "5 KiB", "KiB", True]


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert parse_size(text) == SIZES[text]


@pytest.mark.parametrize("value", NO_SIZES)
def test_what_is_no_size_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="64KiB"):
        parse_size(value)


ADDRESSES = {
    "0.0.0.0:3030": Address("0.0.0.0", 3030),
    "[::1]:0": Address("::1", 0),
    "localhost:65535": Address("localhost", 65535),
}


NO_ADDRESSES = ["", "3030", 3030, ":3030", "h:", "h:65536", "h:-1", "::1:80", "[::1]", "h:80x", "[h]:1", None, "h:٣"]


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses(text: str) -> None:
    assert parse_address(text) == ADDRESSES[text]
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("value", NO_ADDRESSES)
def test_what_is_no_address_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="HOST:PORT"):
        parse_address(value)


MOMENTS = {
    "2026-11-24": "2026-11-24T00:00:00+00:00",
    "2026-11-24T08:30:00Z": "2026-11-24T08:30:00+00:00",
    "2026-11-24t08:30:00z": "2026-11-24T08:30:00+00:00",
    "2026-11-24T08:30:00.5-02:00": "2026-11-24T10:30:00.500000+00:00",
}


NO_MOMENTS = [
    "", "2026-11", "2026-11-31", "2026-11-24T08:30:00", "2026-11-24 08:30:00Z", "2026-11-24T25:00:00Z", "20261124",
    "2026-W48-2", "tomorrow", 20261124, 1.5, None, [], "٢026-11-24", "2026-11-24\n",
]  # fmt: skip


@pytest.mark.parametrize("text", MOMENTS)
def test_moments(text: str) -> None:
    assert parse_moment(text) == datetime.fromisoformat(MOMENTS[text]).timestamp()


@pytest.mark.parametrize("value", NO_MOMENTS)
def test_what_is_no_moment_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="RFC 3339"):
        parse_moment(value)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a network that is none": (changed(trusted_proxies=["10.0.0.1/8"]), "trusted_proxies[0]: write a network"),
    "a proxy's header that is no name": (changed(proxy_headers=["X-A", "X canary"]), "proxy_headers[1]: write the name of a"),
    "a proxy's header without a name": (changed(proxy_headers=[""]), "proxy_headers[0]: write the name of a header"),
    "a proxy's header that is a number": (changed(proxy_headers=[5]), "proxy_headers[0]: "),
    "a proxy's header that frames": (changed(proxy_headers=["Content-Length"]), "proxy_headers[0]: leave this name out"),
    "a proxy's header that is ours": (changed(proxy_headers=["X_Auth_Roles"]), "proxy_headers[0]: leave this name out"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


ACCEPTED: dict[str, dict[str, Any]] = {
    "headers of proxies": changed(proxy_headers=["X-My-Edge", "Remote_User", "X-Real-IP"]),
    "one address as a network": changed(trusted_proxies=["10.0.0.1", "fd00::/8"]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])
