"""HTTP: what a request says, and what of it goes on.

- `fields`           what each header field is to us; `proxy_headers`, `cookies` and `methods` are the lists
- `request_headers`  a request's header section, read once; `response_headers` a response's; `trailers` what follows a body
- `paths`            request targets, and every way in which a server may read a path; `percent` decodes
- `credentials`      an access token, found and cut out
- `forwarded`        what the API learns about the client
- `cross_origin`     what pages of other origins may read
- `proxy_protocol`   how a load balancer says who its client is
"""
