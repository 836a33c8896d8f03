"""core.oauth.issuer: the path of an issuer's URL."""

import pytest

from sidecar.core.oauth.issuer import InvalidIssuer, issuer_path

PATHS = {"https://i": "", "https://i/": "", "http://i:1/a/b.c/": "/a/b.c", "urn:i": None, "i": None}


@pytest.mark.parametrize("issuer", PATHS)
def test_the_path_of_an_issuer(issuer: str) -> None:
    assert issuer_path(issuer) == PATHS[issuer]


@pytest.mark.parametrize(
    "issuer",
    ["https://", "HTTPS://i", "https://u@i", "https://i?x", "https://i/#x", "https://i:0", "https://i:x", "https://i//a", "https://i/./a",
     "https://i/../a", "https://i/a b", "https://i/%61", "https://[::1"],
)  # fmt: skip
def test_an_issuer_by_which_no_metadata_can_be_found(issuer: str) -> None:
    with pytest.raises(InvalidIssuer):
        issuer_path(issuer)
