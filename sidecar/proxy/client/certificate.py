"""Describes a client certificate to the API."""

import hashlib
from typing import Final
from urllib.parse import quote

from cryptography import x509

_UNQUOTED: Final = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def forwarded_certificate(der: bytes | None) -> bytes:
    """`Hash=…;Subject="…";URI=…` in the format of Envoy's `X-Forwarded-Client-Cert`; empty without a certificate.

    `Hash` is the certificate's SHA-256 in hexadecimal, `Subject` its subject name (RFC 4514) and `URI` its first URI subject
    alternative name. In both names every character that could end the value is percent-encoded.
    """
    if not der:
        return b""
    certificate = x509.load_der_x509_certificate(der)
    text = f'Hash={hashlib.sha256(der).hexdigest()};Subject="{quote(certificate.subject.rfc4514_string(), safe=_UNQUOTED)}"'
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return text.encode()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return (text + (f";URI={quote(uris[0], safe=':/@')}" if uris else "")).encode()
