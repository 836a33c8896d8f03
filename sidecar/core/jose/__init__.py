"""JOSE: signed tokens, and the keys that sign them.

- `compact`     the compact serialization (RFC 7515 section 7.1) and strict JSON
- `algorithms`  the signature algorithms, and the keys that each takes (RFC 7518)
- `keys`        signing keys, and the ring of the keys in force
- `client_keys` the keys of clients (RFC 7517)
- `assertions`  signed assertions with which clients authenticate (RFC 7523)
"""
