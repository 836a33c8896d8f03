"""The HTTP face of the authorization server: each endpoint takes an `EndpointRequest` and gives a `Reply`.

- `endpoints`   one module for each endpoint: token, revoke, introspect, authorize, logout, metadata
- `grants`      the grants that the token endpoint makes for an authorization code or a refresh token
- `clients`     client authentication, and the limits on failed authentication
- `login`       the user at a browser: passwords, sessions, consent, pages
- `answering`   the code that all endpoints share; `parameters` reads forms and JSON; `slow_hashes` runs hashes in a thread
"""
