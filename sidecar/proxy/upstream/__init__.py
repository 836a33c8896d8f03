"""The API side of the proxy.

- `pool`        manages all connections: which to use, how many, and which server when there are several
- `connection`  one connection: its transport and its place in the pool
- `reader`      turns bytes into a response or a fault; `shapes` recognises response heads that were parsed before
- `states`      the states of a connection and their transitions; `deadlines` limits how long the upstream may be silent
- `faults`      maps errors of sockets, TLS and the parser to causes
"""
