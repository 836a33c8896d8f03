"""The section `throttling`: how often a caller may try secrets and passwords."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from sidecar.config.sections.model import Model
from sidecar.config.values import KIND, invalid, parse_duration
from sidecar.core.throttling import Rate

_RATE = re.compile(r"([0-9]{1,9})/([0-9.]+(?:ms|s|m|h|d))")


def _rate(value: object) -> Rate | None:
    if value is None or isinstance(value, Rate):  # a default of this model
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if value == "off" or value is False:  # YAML reads an unquoted off as False
        return None
    if match is None or int(match[1]) < 1 or parse_duration(match[2]) <= 0:
        raise invalid("write how many in which time, such as 60/1m, or off")
    return Rate(int(match[1]), parse_duration(match[2]))


RateOrOff = Annotated[
    Rate | None,
    BeforeValidator(_rate),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": f"^{_RATE.pattern}$"}, {"enum": ["off", False]}],
            "examples": ["60/1m"],
            KIND: "rate",
        }
    ),
]


class Throttling(Model):
    """How often a caller may try secrets and passwords before the sidecar answers 429."""

    failures_per_address: RateOrOff = Rate(300, 60.0)
    """Failed client authentications from one address."""
    failures_per_client: RateOrOff = Rate(300, 60.0)
    """Failed authentications of one client, from all addresses."""
    failures_per_client_and_address: RateOrOff = Rate(30, 60.0)
    """Failed authentications of one client from one address."""
    failed_logins_per_address: RateOrOff = Rate(60, 300.0)
    """Failed logins from one address."""
    failed_logins_per_user: RateOrOff = Rate(100, 300.0)
    """Failed logins of one user, from all addresses."""
    failed_logins_per_user_and_address: RateOrOff = Rate(10, 300.0)
    """Failed logins of one user from one address."""
    requests_per_client: RateOrOff = None
    """All requests of a client to `/oauth/*`, successful ones included. Counting costs a round trip to Redis per
    request."""
