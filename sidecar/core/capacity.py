"""How many client connections a process can hold with the file descriptors that it may open and with its memory."""

from typing import Final

_KIB: Final = 1024
_CONNECTION: Final = 6 * _KIB
_SECURE_CONNECTION: Final = 64 * _KIB
LEAST_MEMORY: Final = 4 * _KIB**2
UNLIMITED: Final = 1024**3  # bytes for the clients of a worker whose surroundings are not looked at


def refused_beyond(limit: int) -> int:
    """How many connections beyond `limit` get a 503 response at a time. Further ones are closed without a response."""
    return limit // 8 + 8


def affordable(wanted: int, upstream: int, descriptors: int) -> int:
    """The effective limit of connections when `wanted` is configured; at least 1.

    `descriptors` are available for clients and for at most `upstream` connections to the API. A client's request opens at most
    one upstream connection, so these never take more than half of the descriptors.
    """
    clients = max(descriptors - upstream, descriptors // 2)
    return max(1, min(wanted, (clients - refused_beyond(0)) * 8 // 9))


def price(*, secure: bool) -> int:
    """The bytes of memory that a connection takes, with the kernel's part, when nothing has piled up on it. `secure`: OpenSSL
    and its buffers take most of it."""
    return _SECURE_CONNECTION if secure else _CONNECTION


def for_clients(free: int) -> int:
    """How many of the `free` bytes of a worker may be held for its clients. The rest is for everything else: caches, requests
    being answered, connections to the API, and memory that was released but cannot be used again."""
    return max(LEAST_MEMORY, free * 3 // 4)


def fitting(wanted: int, memory: int, each: int) -> int:
    """The effective limit of connections when `wanted` is configured and each costs `each` bytes; at least 1. Idle connections,
    and those that are only told that there are too many, never take more than half of the memory."""
    places = memory // 2 // each
    return max(1, min(wanted, (places - refused_beyond(0)) * 8 // 9))
