"""OAuth 2.0: who may get tokens, and which.

- `clients`, `users`    who is registered, and how they authenticate; `secrets` hashes client secrets
- `client_rules`, `names`       what a registration may contain
- `grants`              what a client may be granted
- `authorization`       the authorization request, which a client sends through a browser (RFC 6749 section 4.1.1)
- `redirect_uris`, `redirects`  where a browser may be sent, and how
- `refresh_tokens`      families of refresh tokens, and how each token is derived from the one before
- `issuer`, `endpoint_paths`    the URLs of metadata and endpoints
"""
