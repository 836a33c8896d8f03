"""The section `throttling`: how many failed attempts are allowed with secrets and passwords."""

import re
from typing import Annotated

from pydantic import BeforeValidator

from sidecar.config.sections.model import Model
from sidecar.config.values import invalid, parse_duration
from sidecar.core.throttling import Rate

_RATE = re.compile(r"([0-9]{1,9})/([0-9.]+(?:ms|s|m|h|d))")


def _rate(value: object) -> Rate | None:
    if value is None or isinstance(value, Rate):  # a default
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if value == "off" or value is False:  # YAML reads off without quotes as false
        return None
    if match is None or int(match[1]) < 1 or parse_duration(match[2]) <= 0:
        raise invalid("write how many in which time, such as 60/1m, or off")
    return Rate(int(match[1]), parse_duration(match[2]))


RateOrOff = Annotated[Rate | None, BeforeValidator(_rate)]


class Throttling(Model):
    """How many failed attempts with secrets and passwords are allowed before the response is 429, and how many requests."""

    failures_per_address: RateOrOff = Rate(300, 60.0)
    failures_per_client: RateOrOff = Rate(300, 60.0)
    failures_per_client_and_address: RateOrOff = Rate(30, 60.0)
    failed_logins_per_address: RateOrOff = Rate(60, 300.0)
    failed_logins_per_user: RateOrOff = Rate(100, 300.0)
    failed_logins_per_user_and_address: RateOrOff = Rate(10, 300.0)
    requests_per_client: RateOrOff = None
