"""The client side of the proxy.

- `acceptor`    accepts connections up to a limit, including their TLS handshakes; `connections` manages them
- `connection`  one client connection: handles its requests in order and closes it when the client is too slow
- `reader`      turns bytes into requests or a fault; `request_line` and `trailers` check what aiohttp's parser does not expose
- `states`      the states of a connection and their transitions; `deadlines` decides when a client is too slow
- `sending`     writes to the client, and counts the bytes that it has not taken yet
- `certificate` describes a client certificate to the API
"""
