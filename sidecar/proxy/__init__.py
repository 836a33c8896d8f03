"""The data path: bytes of a request in, an admission decision, bytes to the upstream and back.

- `gateway`     decides each request; `AuthenticatingHandler.handle` is the list of phases
- `rules`       all that it decides by, as one value; `token_cache` remembers verified tokens within it
- `credential`  finds the token; `refusing` words a refusal; `forwarding` writes the head; `local` asks our endpoints
- `exchange`    one request, answered by us or carried to the upstream and back; `tunnel` bytes both ways after an upgrade
- `answering`   the one answer that a request gets, and the seven ways in which that ends
- `request_body` a body that we read, or that goes on; `response` an answer that goes on as it comes
- `ports`       what the two sides know of each other: protocols, and the values that both share. No import leads back.
- `limits`      how much and how long, on both sides; `request` what is known of a request besides its message
- `client`      the connections of clients
- `upstream`    the connections to the API
- `wire`        the bytes of our own replies

Everything on the hot path is a plain call on the event loop's thread: no task, future or URL object is made for a request
without a body. A task exists while a body streams, a connection is being opened, or an endpoint of ours works.
"""
