"""Digests of codes, cookies, tokens and names, which the store must not contain in readable form."""

import hashlib


def digest(text: str) -> str:
    """The SHA-256 of `text` in UTF-8, as 64 hexadecimal digits. It has no salt: a secret of 256 random bits needs none.

    Clients choose some of the texts, so lone surrogates are encoded as well.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
