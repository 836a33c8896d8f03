"""A fault is a value that a caller can compare, sort by field and put into its own words."""

from sidecar.core.faults import FieldFault


def test_a_fault_is_its_field_and_its_message() -> None:
    field, message = FieldFault("redirect_uris", "name each only once")
    assert FieldFault(field, message) == FieldFault("redirect_uris", "name each only once")
    assert (FieldFault(field, message).field, FieldFault(field, message).message) == (field, message)
    assert FieldFault(None, message) != FieldFault(field, message)
