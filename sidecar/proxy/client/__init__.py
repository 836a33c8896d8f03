"""The client side of the proxy.

- `acceptor`    accepts connections up to a limit, including their TLS handshakes; `connections` manages them
- `connection`  one client connection: reads plain requests by their shape, and handles all requests in order; `timed` closes it
  when the client is too slow
- `reader`      turns all other bytes into requests or a fault; `request_line` and `trailers` check what aiohttp's parser does
  not expose
- `states`      the states of a connection and their transitions; `deadlines` decides when a client is too slow
- `sending`     writes to the client, and counts the bytes that it has not taken yet
- `certificate` describes a client certificate to the API
"""
