"""auth-sidecar: OAuth 2.0 in front of an API server that knows nothing of it.

The map. A request enters at the top and the arrows are the only imports allowed::

    cli ──► supervisor ──► server ──► app ──► oauth   proxy   stores   ops ──► core
                                       └────► settings ─────────────────────────▲

- `core`      rules only: no sockets, clock, logging, YAML. `now` is an argument, randomness is passed in.
- `oauth`     the authorization server's endpoints: a `core.replies.EndpointRequest` in, a `Reply` out.
- `proxy`     the data path: `connection` parses requests, `gateway` decides (its `handle` reads as the list of phases),
              `exchange` and `upstream` carry bytes.
- `stores`    what outlives a request (revocations, refresh families, codes, sessions, counts): `memory` and `redis`, one
              contract.
- `ops`       listeners to `core.events`: metrics, logs; and the admin endpoints.
- `settings`  the YAML file as frozen models; `yamlfile` reads it, `references` tells what nothing filled in, `tls` makes the
              contexts that it asks for, `templates` looks at the operator's pages.
- `app`       the composition root: settings in, wired parts out; `people` is the part of it for users and their pages.
- `listening` the sockets that listen: how one begins and ends.
- `signals`   what signals do; `ending` sees to it that a process which was told to go is gone in time.
- `server`    one worker process: listeners, readiness, drain.
- `supervisor` the parent of several workers.
- `cli`, `demo` what a person runs.

`oauth`, `proxy`, `stores` and `ops` do not import each other; `tests/unit/test_layers.py` walks the imports and holds
this rule.
"""

__version__ = "0.1.0"
