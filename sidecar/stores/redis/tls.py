"""The TLS context of connections to Redis.

redis-py makes a context for each connection, which takes 16 ms with the CAs of the system. After a failover dozens of
connections are opened at once while the event loop serves requests, so they share a context until a file changes.
"""

import hashlib
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path


def client_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """The context for `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`, as the files are now. Without a CA, those of the system
    are trusted; with one, no other. Raises `OSError` (which `ssl.SSLError` is) for files that cannot be used."""
    names = (options.get("ssl_ca_certs", ""), options.get("ssl_certfile", ""), options.get("ssl_keyfile", ""))
    content = hashlib.sha256()
    for name in names:
        content.update(hashlib.sha256(Path(name).read_bytes() if name else b"").digest())
    return _context(*names, content.digest())


@lru_cache(8)
def _context(ca: str, certificate: str, key: str, content: bytes) -> ssl.SSLContext:  # noqa: ARG001  part of the key
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca)
    else:
        context = ssl.create_default_context()
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context
