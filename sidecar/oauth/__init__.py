"""The HTTP face of the authorization server: each endpoint takes an `EndpointRequest` and gives a `Reply`.

- `parameters`   reads what was sent, form or JSON
- `client_auth`  who sent it
- `token`        RFC 6749: a token for a client
- `refresh`      RFC 6749 section 6: refresh tokens
- `revoke`       RFC 7009: the end of a token
- `metadata`     RFC 8414 and RFC 7517: what there is to ask for, and the public keys
"""
