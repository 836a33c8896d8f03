"""HTTP: what a request means, and what of it is forwarded.

- `fields`           how each header field is treated; `proxy_headers`, `cookies` and `methods` contain the lists
- `request_headers`  parses the header section of a request, `response_headers` that of a response, `trailers` trailer fields
- `plain_heads`      reads request heads whose fields are known by name and order
- `paths`            request targets, and every way in which a server may read a path; `percent` decodes
- `credentials`      finds access tokens and removes them
- `forwarded`        what the API is told about the client
- `cross_origin`     what pages of other origins may read
- `proxy_protocol`   how a load balancer reports the address of its client
"""
