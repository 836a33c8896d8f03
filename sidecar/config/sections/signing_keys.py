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
    """A key of the ring (`core.jose.keys`) with exactly one of `secret`, `private_key` and `public_key`, as `alg` requires."""

    kid: Identifier
    alg: Alg
    secret: SecretStr | None = None
    private_key: SecretStr | None = None
    public_key: str | None = None
    not_before: Moment | None = None
    not_after: Moment | None = None

    @classmethod
    def _rules(cls, plain: Mapping[str, Any], malformed: Set[str]) -> Iterable[FieldFault]:
        return key_faults(filled(KeyMaterial, plain), malformed)

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.not_before is not None and self.not_after is not None and self.not_before >= self.not_after:
            raise invalid("not_after must be later than not_before")
        return self
