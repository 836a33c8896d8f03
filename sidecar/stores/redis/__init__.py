"""The store in Redis.

- `store`       the contract `core.ports.Store`, and the keys
- `connection`  runs commands, within a time limit and on live connections
- `feed`        keeps the revocation view of a process current; `source` is what it needs, and `revocations` gives it
- `scripts`, `family_scripts`  the Lua scripts; `lua` names their keys and arguments
"""
