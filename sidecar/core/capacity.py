"""How many client connections fit into the descriptors that a process may have open."""


def refused_beyond(limit: int) -> int:
    """How many connections beyond `limit` are told 503 at a time; more are closed without a word."""
    return limit // 8 + 8


def affordable(wanted: int, upstream: int, descriptors: int) -> int:
    """The limit of connections to work with when `wanted` is configured, 1 at least.

    `descriptors` are free for clients and for at most `upstream` connections to the API; of these a client's request opens
    one at most, so that no more than half is ever theirs.
    """
    clients = max(descriptors - upstream, descriptors // 2)
    return max(1, min(wanted, (clients - refused_beyond(0)) * 8 // 9))
