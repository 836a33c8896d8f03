"""`sidecar proxy`: the faults of its options. `tests/e2e/test_first_minute.py` runs it."""

import pytest

from tests.support.command import run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--upstream", "ftp://x"], "--upstream: write an address"),
        (["--upstream", "http://x", "--listen", "nowhere"], "--listen: write an address as HOST:PORT"),
        (["--upstream", "http://x", "--admin", "5"], "--admin: write an address as HOST:PORT"),
        (["--upstream", "http://x", "--store", "mysql://canary"], "--store: "),
        (["--upstream", "http://x", "--issuer", "x y"], "--issuer: "),
        (["--upstream", "http://x", "--public", "/a/{id}"], "--public: "),
        ([], "--upstream"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(options: list[str], said: str) -> None:
    result = run("proxy", *options)
    assert (result.exit_code, said in result.output) == (2, True)
    assert "canary" not in result.output
    assert "client_secret" not in result.output
