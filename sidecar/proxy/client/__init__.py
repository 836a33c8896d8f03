"""The side of the clients.

- `acceptor`    accepts connections, TLS handshakes included, up to a bound; `connections` keeps them
- `connection`  one client connection: requests in order, slow clients closed
- `reader`      bytes in, requests or a fault out; `request_line` and `trailers` look at what aiohttp's parser keeps to itself
- `states`      what a connection is doing, and what it may do next; `deadlines` who is too slow
- `sending`     what was written and not yet taken
- `certificate` what a client's certificate says
"""
