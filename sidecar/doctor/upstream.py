"""The API: through the pool that requests use, so that every fault has the cause that the log and `/readyz` would give.

It is asked `OPTIONS *`, which concerns the server as a whole and changes nothing (RFC 9110 section 9.3.7). Any readable answer
is a good one, also a refusal.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from sidecar.config.settings import Settings
from sidecar.core.causes import Cause, Fault
from sidecar.core.http.response_headers import ResponseHeaders
from sidecar.doctor.certificates import names_of, shown, validity
from sidecar.doctor.findings import Finding, bad, good, skipped
from sidecar.proxy.limits import PoolLimits, UpstreamTimeouts
from sidecar.proxy.ports import TunnelEnd, UpstreamLink, WholeResponse
from sidecar.proxy.upstream.connection import UpstreamConnection
from sidecar.proxy.upstream.pool import UpstreamPool
from sidecar.proxy.upstream.server import UpstreamTls, authority_of
from sidecar.tls import upstream_context

_FIREWALL: Final = "see whether a firewall drops the packets, or a name server does not answer (getent hosts NAME)"
_CLEAR: Final = "see what listens there: it must be the API itself, and speak HTTP/1.1"
REMEDIES: Final = {
    Cause.NAME_NOT_RESOLVED: "correct the host in upstream.url, or the name servers of this machine (getent hosts NAME)",
    Cause.REFUSED: "start the API, or correct host and port in upstream.url",
    Cause.NO_ROUTE: "correct the host in upstream.url, or the routes of this machine (ip route get ADDRESS)",
    Cause.SOCKET_MISSING: "start the API, or correct the path in upstream.url",
    Cause.SOCKET_NOT_PERMITTED: "give the sidecar's user rights for the socket file and its folder (chgrp, chmod)",
    Cause.CONNECT_FAILED: "correct upstream.url",
    Cause.CONNECT_TIMEOUT: _FIREWALL,
    Cause.CERTIFICATE_NOT_TRUSTED: "name the CA that signed the API's certificate in upstream.tls.ca",
    Cause.CERTIFICATE_NAME_MISMATCH: "set upstream.tls.server_name to a name of the certificate, or get another one",
    Cause.CERTIFICATE_EXPIRED: "renew the API's certificate",
    Cause.CERTIFICATE_NOT_YET_VALID: "correct the clock of this machine, or get another certificate for the API",
    Cause.CLIENT_CERTIFICATE_REFUSED: "name a certificate that the API accepts in upstream.tls.certificate and .key",
    Cause.SPEAKS_NO_TLS: "write http:// in upstream.url, or the port where the API speaks TLS",
    Cause.TLS_FAILED: "see the API's log: TLS version, ciphers and certificate must fit",
    Cause.CLOSED_WITHOUT_ANSWER: "write https:// in upstream.url if the API speaks TLS; else see the API's log",
    Cause.SPEAKS_TLS: "write https:// in upstream.url",
    Cause.SPEAKS_HTTP2: "have the API speak HTTP/1.1 at this port",
    Cause.NO_ANSWER: "see why the API takes so long; timeouts.response limits the wait",
    Cause.NO_SOCKETS: "raise the limit of open files (ulimit -n)",
}
_CERTIFICATES: Final = frozenset([
    Cause.CERTIFICATE_NOT_TRUSTED, Cause.CERTIFICATE_NAME_MISMATCH, Cause.CERTIFICATE_EXPIRED, Cause.CERTIFICATE_NOT_YET_VALID,
])  # fmt: skip
_UNLIMITED: Final = 3600.0  # seconds: another limit ends it


class Answer(NamedTuple):
    """An answer with this status, after so many seconds. Without TLS the rest is empty. The certificate is in DER form."""

    status: int
    seconds: float
    tls: str = ""
    certificate: bytes = b""


async def look(settings: Settings, url: str, *, now: float, patience: float) -> list[Finding]:
    """Whether the API at this address of `upstream.url` can be reached and speaks HTTP/1.1."""
    check = f"upstream {url}"
    outcome = await ask(settings, url, patience)
    if isinstance(outcome, Fault):
        found = outcome.detail
        if outcome.cause is Cause.NO_ANSWER:
            found = f"it accepts connections, and gave no answer to OPTIONS * within {patience:g} s"
        elif outcome.cause is Cause.CONNECT_TIMEOUT:
            found = f"there was no connection within {min(settings.timeouts.connect, patience):g} s"
        elif outcome.cause in _CERTIFICATES:
            found += await _presented(settings, url, patience / 4)
        return [bad(check, found, REMEDIES.get(outcome.cause, _CLEAR)), *_unseen(url)]
    secure = f" over {outcome.tls}" if outcome.tls else ""
    findings = [good(check, f"answered OPTIONS * with {outcome.status}{secure} in {outcome.seconds * 1000:.0f} ms")]
    if outcome.certificate:
        chain = [x509.load_der_x509_certificate(outcome.certificate)]
        findings.append(validity(_of_certificate(url), chain, now, "renew the API's certificate"))
    return findings


def _of_certificate(url: str) -> str:
    return f"certificate of {url}"


def _unseen(url: str) -> Iterable[Finding]:
    return [skipped(_of_certificate(url), "the API was not reached")] if url.startswith("https:") else []


async def ask(settings: Settings, url: str, patience: float) -> Answer | Fault:
    """What the API answers to `OPTIONS *`, or why it gives no proper answer within `patience` seconds."""
    loop = asyncio.get_running_loop()
    files = settings.upstream.tls
    connect = min(settings.timeouts.connect, patience)
    pool = UpstreamPool(
        [url],
        loop=loop,
        timeouts=UpstreamTimeouts(connect, _UNLIMITED, _UNLIMITED),
        limits=PoolLimits(1, _UNLIMITED, _UNLIMITED),
        monotonic=loop.time,
        on_unasked=lambda _: None,
        tls=UpstreamTls(upstream_context(files.ca, files.certificate, files.key), files.server_name),
    )
    sink = _Sink(loop.create_future(), loop.time)
    try:
        async with asyncio.timeout(patience + 0.1):  # after the time limit of the connection, which names the cause
            pool.dispatch(sink, _request(settings, url))
            return await sink.outcome
    except TimeoutError:
        return Fault(Cause.NO_ANSWER if sink.connected else Cause.CONNECT_TIMEOUT)
    finally:
        await pool.close()


def _request(settings: Settings, url: str) -> bytes:
    own = {"upstream": authority_of(url).decode(), "keep": urlsplit(settings.tokens.issuer).netloc}
    host = own.get(settings.upstream.host, settings.upstream.host)
    return f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nUser-Agent: sidecar-doctor\r\nConnection: close\r\n\r\n".encode()


class _Sink:
    """The `ResponseSink` of one request without a body, whose outcome is all that matters."""

    head_request = False
    resendable = False
    expects_continue = False
    wanted = True
    upgrade = b""
    sent_at = 0.0
    awaits_switch = False
    sending = False

    def __init__(self, outcome: "asyncio.Future[Answer | Fault]", monotonic: Callable[[], float]) -> None:
        self.outcome = outcome
        self._monotonic = monotonic
        self._began = monotonic()
        self.connected = False
        self._tls = ""
        self._certificate = b""

    def on_connected(self, connection: UpstreamLink) -> None:
        self.connected = True
        transport = connection.transport if isinstance(connection, UpstreamConnection) else None
        secure = transport.get_extra_info("ssl_object") if transport is not None else None
        if secure is not None:
            self._tls, self._certificate = secure.version() or "TLS", secure.getpeercert(binary_form=True) or b""

    def _settle(self, outcome: Answer | Fault) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def on_head(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:  # noqa: ARG002  of the contract
        self._settle(Answer(status, self._monotonic() - self._began, self._tls, self._certificate))

    def on_whole(self, whole: WholeResponse, now: float) -> None:  # noqa: ARG002  of the contract
        self._settle(Answer(whole[0], self._monotonic() - self._began, self._tls, self._certificate))

    def on_failure(self, fault: Fault) -> None:
        self._settle(fault)

    def on_switch(self, connection: UpstreamLink, reason: bytes, headers: ResponseHeaders) -> TunnelEnd:  # noqa: ARG002  as above
        raise AssertionError("no switch was asked for")

    def on_informational(self, status: int, reason: bytes, headers: ResponseHeaders) -> None:
        pass

    def on_body(self, data: bytes) -> None:
        pass

    def on_trailers(self, pieces: list[bytes]) -> None:
        pass

    def stop_sending(self) -> None:
        pass

    def on_complete(self, now: float) -> None:
        pass

    def flush(self) -> None:
        pass

    def may_reuse(self) -> bool:
        return False


async def _presented(settings: Settings, url: str, patience: float) -> str:
    """What the certificate that was not accepted says, for the operator. Nothing is sent over this connection."""
    parts = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    name = settings.upstream.tls.server_name or parts.hostname
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(
                parts.hostname, parts.port or 443, ssl=context, server_hostname=name
            )
            shown_by = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
        certificate = x509.load_der_x509_certificate(shown_by)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (OSError, TimeoutError, ValueError):
        return ""
    return f"; it is for {shown(names_of(certificate))}, valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}"
