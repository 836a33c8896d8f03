"""`sidecar doctor`: looks at everything that the sidecar depends on, and says what is wrong and what to do about it.

- `findings`       what one look gives: a status, what was found, the remedy
- `examination`    all looks at once, each within a time limit
- `configuration`  the warnings of `sidecar check-config`, and the signing keys
- `certificates`   the files of certificates and CAs
- `upstream`       the API, through the pool that requests use
- `store`          Redis, or several servers of it
- `listeners`      the addresses to listen on, and who is there
- `machine`        descriptors, memory, CPUs and the clock

The looks change nothing: the API gets `OPTIONS *`, which asks for nothing (RFC 9110 section 9.3.7). Redis gets one key that
ends after a second, and that the sidecar writes at each start as well. A port is bound for a moment, without listening. No
finding contains a secret.
"""
