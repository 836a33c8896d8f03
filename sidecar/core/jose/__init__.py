"""JOSE: signed tokens and the keys that sign them.

- `compact`     the compact serialization (RFC 7515 section 7.1) and strict JSON
- `algorithms`  the signature algorithms, and the keys that each takes (RFC 7518)
- `keys`        signing keys, and the ring of those in force
- `client_keys` the keys of clients (RFC 7517)
- `assertions`  a client proves who it is by a signed assertion (RFC 7523)
"""
