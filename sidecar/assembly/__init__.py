"""Builds the parts of one worker and joins them. The one package that knows every other.

- `living`    the parts that outlive a change of the configuration: store, revocation view, counts, threads
- `keys`      signing keys, token rules, keys of refresh tokens
- `clients`   the registry of clients, and who authenticates them
- `people`    users, and the pages that a browser sees
- `endpoints` the endpoints for clients, and the documents that describe them
- `snapshot`  all that requests are decided by, built from the settings as one value
- `upstream`  the pool of connections to the API
- `app`       all of it, running

A new configuration takes effect in this order: build, check, swap in one step of the event loop.
"""
