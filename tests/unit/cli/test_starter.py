"""The files of `sidecar init`, before they are written."""

import pytest
import yaml

from sidecar.cli.starter import USES, Answers, starting_files
from sidecar.core.oauth.secrets import parse_secret_hash

URL = "http://127.0.0.1:3080"


@pytest.mark.parametrize("use", USES)
def test_every_secret_is_new_each_time(use: str) -> None:
    first, second = (starting_files(Answers(use, URL, "memory://", "https://a")) for _ in range(2))
    assert list(first) == list(second)
    assert list(first)[-1] == "sidecar.yaml"
    assert all(first[name] != second[name] for name in first)


def test_the_hash_is_that_of_the_secret() -> None:
    files = starting_files(Answers("programs", URL, "memory://", "https://a"))
    (client,) = yaml.safe_load(files["sidecar.yaml"])["clients"]
    assert parse_secret_hash(client["client_secret_hash"]).matches(files["reporting-secret"].strip())


@pytest.mark.parametrize(
    "text", ["redis://h/0?a=b&c=d", "https://x # y", 'http://"x"', "a\\b", "- x", "${env:REDIS}", "x: y", "", "@x"]
)
def test_an_answer_is_what_the_file_says(text: str) -> None:
    files = starting_files(Answers("programs", text, "memory://", text))
    document = yaml.safe_load(files["sidecar.yaml"])
    assert (document["upstream"]["url"], document["tokens"]["issuer"]) == (text, text)


@pytest.mark.parametrize(
    ("store", "in_a_file"),
    [
        ("redis://h/0", False),
        ("redis://u:p@h/0", True),
        ("redis://h/0?password=p", True),
        ("redis+sentinel://h/main?sentinel_password=p", True),
        ("unix:///run/redis.sock?password=p", True),
        ("memory://", False),
    ],
)
def test_a_password_of_the_store_stands_in_a_file(store: str, *, in_a_file: bool) -> None:
    files = starting_files(Answers("programs", URL, store, "https://a"))
    shown = yaml.safe_load(files["sidecar.yaml"])["store"]["url"]
    assert (shown, files.get("redis-url")) == (("${file:redis-url}", store + "\n") if in_a_file else (store, None))
