"""The HTTP face of the authorization server: each endpoint takes an `EndpointRequest` and gives a `Reply`.

- `parameters`   reads what was sent, form or JSON
- `client_auth`  who sent it; `client_assertion` by a signed assertion
- `token`        RFC 6749: a token for a client
- `revoke`       RFC 7009: the end of a token
"""
