"""OAuth 2.0: who may ask for tokens, and for which.

- `clients`, `users`    who is known, and how each proves it; `secrets` hashes
- `grants`              what a client may be granted
- `authorization`       the request that a client sends a browser with (RFC 6749 section 4.1.1)
- `redirect_uris`, `redirects`  where a browser may be sent, and how
- `refresh_tokens`      families of refresh tokens, and how each follows from the one before
- `issuer`, `endpoint_paths`    where metadata and endpoints are found
"""
