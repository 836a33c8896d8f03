"""The list `tokens.signing_keys`: the keys that sign and verify."""

from collections.abc import Iterable, Mapping, Set
from typing import Any, Self

from pydantic import SecretStr, model_validator

from sidecar.config.sections.model import RuledModel, filled
from sidecar.config.values import Identifier, Moment, invalid
from sidecar.core.faults import FieldFault
from sidecar.core.jose.algorithms import Alg
from sidecar.core.jose.key_rules import KeyMaterial, key_faults


class SigningKey(RuledModel):
    """One key of the ring (`core.jose.keys`): exactly one of `secret`, `private_key` and `public_key`, as `alg` requires."""

    kid: Identifier
    """The key's id. It names one key for ever: do not reuse it."""
    alg: Alg
    """HS* needs `secret`; the others need `private_key` or `public_key`."""
    secret: SecretStr | None = None
    """At least 32 bytes for HS256, 48 for HS384, 64 for HS512."""
    private_key: SecretStr | None = None
    """A PEM. The sidecar publishes the public half at `/oauth/jwks`."""
    public_key: str | None = None
    """A PEM. A key with only its public half verifies, and never signs."""
    not_before: Moment | None = None
    """From when the key may sign. It verifies in any case."""
    not_after: Moment | None = None
    """Until when the key may sign. It verifies in any case."""

    @classmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        return key_faults(filled(KeyMaterial, plain), malformed)

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise invalid("not_after must be later than not_before")
        return self
