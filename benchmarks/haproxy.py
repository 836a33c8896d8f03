"""HAProxy with `jwt_verify`: signature, algorithm, issuer, audience and expiry, as its manual shows it."""

from benchmarks.machine import find, free_port
from benchmarks.place import Place, Started
from benchmarks.tokens import AUDIENCE, ISSUER, KEY

# `http-reuse always` lets the first request of a connection use an upstream connection that is open already.
_CONFIGURATION = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  http-reuse always
frontend public
  bind 127.0.0.1:{port} backlog 4096{tls}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str HS256 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {issuer} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {audience} }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  default_backend api
backend api
  server api 127.0.0.1:{upstream}
"""


def haproxy(place: Place) -> Started:
    """One thread, in the foreground, without a log."""
    port = free_port()
    tls = f" ssl crt {place.certificate.both}" if place.certificate else ""
    text = _CONFIGURATION.format(port=port, tls=tls, key=KEY, issuer=ISSUER, audience=AUDIENCE, upstream=place.upstream)
    path = place.folder / "haproxy.cfg"
    path.write_text(text)
    process = place.start([find("haproxy") or "haproxy", "-db", "-f", str(path)])
    process.wait_for_port(port)
    return Started(port, (process,))
