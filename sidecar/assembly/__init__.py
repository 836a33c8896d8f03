"""Builds the parts of one worker and connects them. The only package that imports every part of a worker.

- `living`    the parts that outlive a change of the configuration: store, revocation view, failure counts, threads
- `keys`      signing keys, token rules, the keys that derive refresh tokens
- `clients`   the client registry, and client authentication
- `people`    users, and the pages that a browser shows
- `endpoints` the endpoints for clients, and the documents that describe them
- `snapshot`  all the rules for requests, built from the settings as one value
- `revoking`  revocation by the command line
- `app`       the composition root

A new configuration takes effect in this order: build it, check it, swap it in within one step of the event loop.
"""
