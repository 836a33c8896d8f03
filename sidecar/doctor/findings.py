"""What a look gives."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How good the thing is that was looked at. `SKIPPED`: it could not be looked at, because of another fault or right."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """`check` names what was looked at. `remedy` names the field or command that helps; it is empty when there is nothing to
    do, or when `found` says what to do."""

    check: str
    status: Status
    found: str
    remedy: str = ""


def good(check: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Status.OK, found)


def doubtful(check: str, found: str, remedy: str) -> Finding:
    """It works, and should be changed."""
    return Finding(check, Status.WARNING, found, remedy)


def bad(check: str, found: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, Status.FAILED, found, remedy)


def skipped(check: str, found: str) -> Finding:
    """It was not looked at, and why."""
    return Finding(check, Status.SKIPPED, found)


def worst(findings: Iterable[Finding]) -> Status:
    """The status of all together."""
    statuses = [finding.status for finding in findings]
    return next((each for each in (Status.FAILED, Status.WARNING) if each in statuses), Status.OK)


def counts(findings: Iterable[Finding]) -> dict[Status, int]:
    """How many findings have each status."""
    statuses = [finding.status for finding in findings]
    return {status: statuses.count(status) for status in Status}
