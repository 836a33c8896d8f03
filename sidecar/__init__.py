"""auth-sidecar: OAuth 2.0 in front of an API server that has no authentication.

The map of the packages. Imports only go downwards (`docs/architecture.md` has the picture, which a test checks)::

    cli, demo       the commands that an operator runs
    doctor          looks at everything that the sidecar depends on
    runtime         the processes: a worker, the supervisor of several workers, their sockets and signals
    assembly        builds the parts of a worker from the settings and connects them
    config          the YAML file as frozen values
    oauth           the endpoints of the authorization server: from a `core.replies.EndpointRequest` to a `Reply`
    proxy           the data path: reads a request, decides, forwards it to the upstream and the response to the client
    stores          the state that outlives a request: in memory, or in Redis
    ops             what an operator sees: metrics, logs, the admin endpoints
    tls             TLS contexts, and the watch on certificate files
    core            the rules: no sockets, clock, logging or YAML; callers pass in time and randomness

`oauth`, `proxy`, `stores` and `ops` do not import each other; `assembly` connects them. A test enforces this
(`tests/unit/test_architecture.py`).

Where to begin: `core.admission` is the rule that admits a request, `proxy.handler` the phases before it, `core.reasons` every
reason for a refusal, and `assembly.snapshot` everything that a decision depends on.
"""

__version__ = "0.1.0"
