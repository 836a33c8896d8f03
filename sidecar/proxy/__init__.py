"""The data path: bytes of a request in, an admission decision, bytes to the upstream and back.

- `ports`       what the two sides know of each other: protocols, and the values that both share. No import leads back.
- `acceptor`    accepts connections, TLS handshakes included, up to a bound; `connections` keeps them.
- `limits`      how much and how long, on both sides.
- `connection`  one client connection: requests in order, slow clients closed. Its parts: `reader` (bytes in, requests or a
                fault out), `trailers`, `states`, `deadlines` (who is too slow) and `sending`.
- `gateway`     decides each request; `Gateway.handle` is the list of phases.
- `request`     what is known of a request besides its message.
- `exchange`    one request and its response, whichever way it ends.
- `upstream`    one connection to the API server, parsed by httptools; `shapes` knows heads that were parsed before.
- `pool`        all of them: which one, how many, and which server when there are several.
- `faults`      which cause an error of a socket, of TLS or of the parser is.
- `tunnel`      bytes both ways after an upgrade.
- `certificate` what a client's certificate says.
- `wire`        the bytes of our own replies.
- `token_cache` tokens that were verified already.

Everything on the hot path is a plain call on the event loop's thread: no task, future or URL object for a request
without a body. A task exists while a body streams, a connection is being opened, or an endpoint of ours works.
"""
