"""auth-sidecar: OAuth 2.0 in front of an API server that knows nothing of it.

The map. Each folder is a room, and imports only run downwards (`docs/architecture.md` has the picture, which a test draws)::

    cli, demo       what a person runs
    runtime         the processes: a worker, the parent of several, their sockets and signals
    assembly        builds the parts of a worker from the settings and joins them
    config          the YAML file as frozen values
    oauth           the endpoints of the authorization server: a `core.replies.EndpointRequest` in, a `Reply` out
    proxy           the data path: bytes of a request in, a decision, bytes to the upstream and back
    stores          what outlives a request: in memory, or in Redis
    ops             what an operator sees: metrics, logs, the admin endpoints
    tls             TLS contexts, and the watch on certificate files
    core            the rules: no sockets, clock, logging or YAML; time and randomness are passed in

`oauth`, `proxy`, `stores` and `ops` do not import each other: `assembly` joins them. A test holds this
(`tests/unit/test_architecture.py`).

Where to begin: `core.admission` is the rule that admits a request, `proxy.handler` the phases that lead to it, `core.reasons`
every reason why a request is refused, `assembly.snapshot` all that a request is decided by.
"""

__version__ = "0.1.0"
