"""The rules: pure functions and frozen values. Nothing here touches a socket, a clock, a file or a logger.

- `admission`   may this token be used for this route, now
- `policy`      which route a request meets; `route_advice` and `patterns` help who writes routes
- `tokens`      access tokens: issued, and verified
- `revocations` what was revoked, as one process knows it
- `throttling`  budgets of attempts
- `reasons`     why a request was refused, a closed list; `causes` what is behind a failure, another
- `replies`     what the sidecar says itself; `events` what it tells metrics and logs
- `ports`       what the rules need from a store
- `base64url`   the encoding of tokens, hashes and identifiers; `digests` keys in a store for what is secret
- `placeholders`, `capacity`, `restarts`  small rules of the configuration and of the processes
- `http`        what header fields, targets, cookies and methods mean
- `jose`        algorithms, keys, compact serialisation, client assertions
- `oauth`       clients, users, grants, redirect URIs
"""
