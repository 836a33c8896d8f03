"""The HTTP face of the authorization server: each endpoint takes an `EndpointRequest` and gives a `Reply`.

- `endpoints`   one file for each: token, revoke, introspect, authorize, logout, metadata
- `grants`      what comes of an authorization code or a refresh token at the token endpoint
- `clients`     which client sent a request, and how often it may fail to prove that
- `login`       a person at a browser: passwords, sessions, consent, pages
- `answering`   what every endpoint does alike; `parameters` reads forms and JSON; `slow_hashes` keeps hashes off the event loop
"""
