"""The rules: pure functions and frozen values. Nothing here uses a socket, a clock, a file or a logger.

- `admission`   whether a token may be used for a route, now
- `policy`      which route matches a request; `route_rules`, `route_advice` and `patterns` check configured routes
- `tokens`      issues and verifies access tokens
- `revocations` what was revoked, as one process knows it; `entry_table` keeps it in little memory
- `throttling`  budgets of attempts
- `reasons`     the closed list of reasons for a refusal; `causes` that of causes of a failure
- `replies`     the sidecar's own responses; `events` what metrics and logs are told
- `faults`      a fault of a client, a key or a route that an operator registers
- `ports`       what the rules need from a store
- `base64url`   the encoding of tokens, hashes and identifiers; `digests` the store keys of secrets
- `placeholders`, `capacity`, `restarts`  small rules for the configuration and for the processes
- `http`        the meaning of header fields, targets, cookies and methods
- `jose`        algorithms, keys, compact serialisation, client assertions
- `oauth`       clients, users, grants, redirect URIs
"""
