"""The HTTP face of the authorization server: each endpoint takes an `EndpointRequest` and gives a `Reply`.

- `parameters`   reads what was sent, form or JSON
- `client_auth`  who sent it; `client_assertion` by a signed assertion
- `throttle`     how often somebody may fail
- `token`        RFC 6749: a token for a client
- `refresh`      RFC 6749 section 6: refresh tokens
- `introspect`   RFC 7662: what a token allows, for those who may ask
- `revoke`       RFC 7009: the end of a token
- `authorize`    RFC 6749 sections 4.1.1 and 4.2.1: a person logs in and agrees; `login` checks passwords, `sessions` and
                 `consents` remember, `pages` renders `templates/`; `logout` ends a session
- `code`         RFC 6749 section 4.1.3: what comes of an authorization code
- `metadata`     RFC 8414 and RFC 7517: what there is to ask for, and the public keys
"""
