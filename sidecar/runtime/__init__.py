"""The processes of the sidecar.

- `worker`      serves requests, in a process of its own or in the only one
- `supervisor`  the parent of several workers; `control` is what both say to each other
- `sockets`     listening sockets: opened, and closed without losing a client that has connected
- `signals`     what each signal does; `ending` ends a process in time whatever hangs
- `descriptors` how many connections the limit of file descriptors allows
"""
