"""The side of the API.

- `pool`        all connections: which one, how many, and which server when there are several
- `connection`  one of them, parsed by httptools; `shapes` knows heads that were parsed before
- `faults`      which cause an error of a socket, of TLS or of the parser is
"""
