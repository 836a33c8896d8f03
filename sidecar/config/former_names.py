"""Keys that had another name in earlier versions. A file with the former name means the same."""

from typing import Any, Final

from sidecar.config.faults import Fault

FORMER: Final = {"timeouts.drain": "drain.timeout"}
"""Former names, each with the current one. Both are a section and a key."""


def with_current_names(document: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the document with the current names, and a fault for each key that is given under both names."""
    faults = []
    for former, current in FORMER.items():
        (old_section, old_key), (section, key) = former.split("."), current.split(".")
        before, after = document.get(old_section), document.get(section, {})
        if not isinstance(before, dict) or not isinstance(after, dict) or old_key not in before:
            continue
        if key in after:
            faults.append(Fault(former, f"is the former name of {current}: keep only that one"))
        else:
            after = {**after, key: before[old_key]}
        kept = {name: value for name, value in before.items() if name != old_key}
        document = {**document, old_section: kept, section: after}
    return document, faults
