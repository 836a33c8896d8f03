"""The side of the API.

- `pool`        all connections: which one, how many, and which server when there are several
- `connection`  one of them: its transport and its place in the pool
- `reader`      bytes in, a response or a fault out; `shapes` knows heads that were parsed before
- `states`      what a connection is doing, and what it may do next; `deadlines` for how long the upstream may be silent
- `faults`      which cause an error of a socket, of TLS or of the parser is
"""
