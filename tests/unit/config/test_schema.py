"""The JSON Schema: it accepts what the sidecar accepts, and says what is wrong where an editor can know it."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sidecar.config.document import _Loader
from sidecar.config.schema import field_texts, json_schema, models
from sidecar.config.settings import Settings
from tests.support.settings import MINIMAL, changed

SCHEMA = json_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)
CONFIG = Path(__file__).parents[3] / "config"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


DEPLOY = CONFIG.parent / "deploy"
EXAMPLES = [
    *sorted(CONFIG.glob("*.yaml")),
    *(file for file in sorted(DEPLOY.glob("**/sidecar.yaml")) if "\nupstream:" in file.read_text()),
]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(CONFIG.parent)))
def test_the_examples_are_valid_and_name_the_schema(file: Path) -> None:
    text = file.read_text()
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == CONFIG / "sidecar.schema.json"
    document = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    assert [each.message for each in CHECK.iter_errors(document)] == []


@pytest.mark.parametrize("name", [model.__name__ for model in models(Settings)])
def test_every_key_is_explained(name: str) -> None:
    (model,) = [each for each in models(Settings) if each.__name__ == name]
    assert field_texts(model).keys() == model.model_fields.keys()
    assert all(text.endswith(".") and text[0] not in " " for text in field_texts(model).values())


ACCEPTED: list[dict[str, Any]] = [
    MINIMAL,
    changed(listen="0.0.0.0:1"),
    changed(listen={"address": "[::1]:1", "proxy_protocol": True}),
    changed(credentials=["bearer"]),
    changed(credentials={"places": ["bearer"], "body_limit": "1KiB"}),
    changed(upstream={"url": ["http://a", "https://b", "unix:///c"]}),
    changed(upstream={"url": "${env:API}"}),
    changed(timeouts={"drain": "3s", "idle": "${env:IDLE}"}),
    changed(store={"url": "${file:url}", "on_outage": "deny"}),
    changed(store={"on_outage": {"allow_cached": "5m"}}),
    changed(throttling={"failures_per_address": "off", "failures_per_client": False, "requests_per_client": "5/1s"}),
    changed(logging={"admitted": False, "level": "debug"}),
    changed(tls=None, compat="rfc"),
    changed(limits={"memory": "64MiB", "body": None}),
    changed(clients=[{"client_id": "c", "public_key": "PEM", "token_endpoint_auth_method": "private_key_jwt"}]),
    changed(clients=[{"client_id": "c", "public_key": ["PEM"], "jwks": {"keys": [{"kty": "EC"}]}}]),
]


@pytest.mark.parametrize("document", ACCEPTED, ids=repr)
def test_what_the_sidecar_can_accept_is_valid(document: dict[str, Any]) -> None:
    assert [each.message for each in CHECK.iter_errors(document)] == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    (changed(listne="x"), "listne"),
    (changed(upstream={}), "'url' is a required property"),
    (changed(upstream={"url": "ftp://x"}), "ftp://x"),
    (changed(workers=0), "minimum"),
    (changed(workers="2"), "type 'integer'"),
    (changed(timeouts={"idle": "5"}), "'5'"),
    (changed(timeouts={"idle": "5 minutes"}), "'5 minutes'"),
    (changed(limits={"headers": "1MB"}), "'1MB'"),
    (changed(logging={"level": "loud"}), "'loud'"),
    (changed(store={"on_outage": "allow"}), "'allow'"),
    (changed(routes=[{"path": "/x", "access": "open"}]), "'open'"),
    (changed(clients=[{"client_id": "c", "grant_types": ["password"]}]), "'password'"),
]


@pytest.mark.parametrize(("document", "said"), REFUSED, ids=repr)
def test_what_an_editor_can_know_to_be_wrong_is(document: dict[str, Any], said: str) -> None:
    assert said in str([each.message for each in CHECK.iter_errors(document)])
