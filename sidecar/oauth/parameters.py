"""The parameters of a request to an endpoint: a form (RFC 6749 appendix B), or a JSON object as TapData's clients send it.

Rules:
- A repeated parameter is refused (RFC 6749 section 3.1), except `resource` (RFC 8707 section 2). An unknown parameter is
  ignored, and an empty one counts as absent.
- OAuth parameters in the URL are refused, because URLs are logged (RFC 6749 section 2.3.1).
- A body that cannot be decoded without guessing is refused.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from sidecar.core.http.percent import BROKEN_ESCAPE, percent_decoded
from sidecar.core.reasons import Reason, Refused
from sidecar.core.replies import EndpointRequest

Parameters = dict[str, str]

_MAX_PARAMETERS: Final = 64
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f]")  # RFC 6749 appendix A: visible characters only
_OF_OAUTH: Final = frozenset(
    [
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "token",
        "token_type_hint",
        "refresh_token",
        "access_token",
        "code",
        "code_verifier",
        "redirect_uri",
        "username",
        "password",
    ]
)


def read_parameters(request: EndpointRequest) -> Parameters:
    """The parameters in the body. Raises `Refused(INVALID_REQUEST)`, whose detail says what is wrong."""
    if request.query and {name for name, _ in _pairs(request.query)} & _OF_OAUTH:
        raise _invalid("Parameters belong in the body, never in the URL.")
    if request.header_values("content-encoding"):
        raise _invalid("The body must not be compressed.")
    types = request.header_values("content-type")
    media_type = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
    if media_type == "application/x-www-form-urlencoded":
        return _form(_decoded(request.body))
    if media_type == "application/json":
        return _from_json(_decoded(request.body))
    raise _invalid("Content-Type must be application/x-www-form-urlencoded or application/json.")


def form_decoded(text: str) -> str:
    """Undo the encoding of a form value. Raises `Refused(INVALID_REQUEST)`."""
    if "%" not in text and "+" not in text:
        return text  # the usual case
    if BROKEN_ESCAPE.search(text):
        raise _invalid("A percent sign is not followed by two hexadecimal digits.")
    return _decoded(percent_decoded(text.replace("+", " ").encode()))


def _invalid(detail: str) -> Refused:
    return Refused(Reason.INVALID_REQUEST, detail)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("The parameters are not UTF-8.") from None


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    fields = text.split("&") if text else []
    if len(fields) > _MAX_PARAMETERS:
        raise _invalid("There are too many parameters.")
    for field in fields:
        name, _, value = field.partition("=")
        yield form_decoded(name), form_decoded(value)


def _form(text: str) -> Parameters:
    """The parameters of a form. In the usual one nothing is encoded, and no character is forbidden, which one look at the
    whole tells; if besides no parameter came twice, there is nothing that could be wrong with any of them."""
    if "%" not in text and "+" not in text and text.isprintable():
        fields = [field.partition("=") for field in text.split("&")]
        parameters = {name: value for name, _, value in fields if value}
        if len(parameters) == len(fields) <= _MAX_PARAMETERS:
            return parameters
    return _unique(_pairs(text))


def _unique(pairs: Iterable[tuple[str, str]]) -> Parameters:
    parameters: Parameters = {}
    for name, value in pairs:
        if name in parameters and name != "resource":
            raise _invalid("A parameter came more than once.")
        if _FORBIDDEN.search(name) or _FORBIDDEN.search(value):
            raise _invalid("A parameter holds a control character.")
        parameters[name] = value
    return {name: value for name, value in parameters.items() if value}


def _from_json(text: str) -> Parameters:
    text = text.removeprefix("\ufeff")  # RFC 8259 section 8.1

    def pairs_of(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return pairs

    try:
        members = json.loads(text, object_pairs_hook=pairs_of)
    except (ValueError, RecursionError):
        raise _invalid("The body is not JSON.") from None
    if not isinstance(members, list) or not text.lstrip(" \t\r\n").startswith("{") or len(members) > _MAX_PARAMETERS:
        raise _invalid("The body must be one JSON object.")
    for name, value in members:
        if name in _OF_OAUTH and value is not None and not isinstance(value, str):
            raise _invalid("Every parameter must be a string.")
    return _unique((name, value if isinstance(value, str) else "") for name, value in members)


def query_parameters(query: str) -> Parameters:
    """The parameters in the query of a URL, for the authorization endpoint. Raises `Refused(INVALID_REQUEST)`."""
    return _unique(_pairs(query))


def form_parameters(request: EndpointRequest) -> Parameters:
    """The fields of a form that a browser sent. Raises `Refused(INVALID_REQUEST)`."""
    types = request.header_values("content-type")
    if [each.partition(";")[0].strip().lower() for each in types] != ["application/x-www-form-urlencoded"]:
        raise _invalid("Content-Type must be application/x-www-form-urlencoded.")
    return _form(_decoded(request.body))
