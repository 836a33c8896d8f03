"""HTTP Basic credentials (RFC 7617), as a client sends its id and secret (RFC 6749 section 2.3.1)."""

import base64
import binascii


class InvalidBasic(ValueError):
    """The field value holds no Basic credentials. The text says why and never shows the value."""


def basic_credentials(value: str) -> tuple[str, str]:
    """The user-id and the password of an `Authorization` value, not form-decoded. Raises `InvalidBasic`."""
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidBasic("The Authorization header must be Basic.")
    try:
        text = base64.b64decode(credentials.strip(" "), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise InvalidBasic("The Basic credentials cannot be read.") from None
    name, colon, password = text.partition(":")
    if not colon:
        raise InvalidBasic("The Basic credentials cannot be read.")
    return name, password
