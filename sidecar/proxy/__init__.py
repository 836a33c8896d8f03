"""The data path: request bytes in, an admission decision, bytes to the upstream and back.

- `handler`     decides each request; `AuthenticatingHandler.handle` lists the phases
- `rules`       everything a decision depends on, as one value; it includes `token_cache`, which remembers verified
  tokens, and the shapes of request heads (`core.http.plain_heads`)
- `credential`  finds the token; `refusing` builds refusals; `forwarding` writes the head; `local` calls the sidecar's endpoints
- `exchange`    one request, answered by the sidecar or carried to the upstream; `tunnel` copies bytes after an upgrade
- `answering`   the one response of each request, and the seven ways in which an exchange ends
- `request_body` a request body that the sidecar reads or forwards, `small_body` one of known length that arrives with its
  head or soon after it; `response` a response that is forwarded as it arrives
- `ports`       what the two sides know of each other: protocols and shared values. It imports neither side.
- `limits`      sizes, counts and times for both sides; `request` the head, the body and the length of a request
- `client`      the connections of clients
- `upstream`    the connections to the API
- `wire`        the bytes of the sidecar's own replies

Everything on the hot path is a plain call on the event loop's thread: a request without a body, or with a small one, creates no
task, future or URL object. A task exists only while a body streams, a connection is being opened, or one of the sidecar's
endpoints runs.
"""
