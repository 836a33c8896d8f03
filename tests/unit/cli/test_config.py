"""`sidecar config`, in this process."""

import json

from tests.support.command import run


def test_the_schema_is_printed() -> None:
    result = run("config", "schema")
    schema = json.loads(result.stdout)
    assert (result.exit_code, schema["$schema"]) == (0, "https://json-schema.org/draft/2020-12/schema")
    assert "access_token_ttl" in schema["$defs"]["Tokens"]["properties"]
