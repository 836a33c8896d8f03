"""What the models of all sections have in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A section of the file: immutable, unknown keys are faults, nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
