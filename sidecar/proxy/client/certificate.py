"""What a client's certificate says, for the API."""

import hashlib
from typing import Final
from urllib.parse import quote

from cryptography import x509

_UNQUOTED: Final = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


def forwarded_certificate(der: bytes | None) -> bytes:
    """`Hash=…;Subject="…";URI=…` in the form that Envoy made known as `X-Forwarded-Client-Cert`; empty without one.

    `Hash` is the SHA-256 of the certificate in hexadecimal, `Subject` its name (RFC 4514) and `URI` its first URI name, both
    with everything percent-encoded that could end the value.
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
