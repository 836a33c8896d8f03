"""The store in Redis.

- `store`       the contract `core.ports.Store`, and the keys
- `connection`  runs commands, within a time limit and on live connections, which are in a `pool`; `faults` describes what fails
- `route`       where the server of a new connection is: `sentinel` and `cluster` find it
- `partitioned` one store made of the partitions of a Cluster
- `feed`        keeps the revocation view of a process current; `source` is what it needs, and `revocations` gives it
- `durability`  whether the server may forget
- `scripts`, `family_scripts`  the Lua scripts; `lua` names their keys and arguments
"""
