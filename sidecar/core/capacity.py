"""How many client connections a process can hold with the file descriptors that it may open."""


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
