"""The processes of the sidecar: one worker, the supervisor of several, their sockets and signals."""
