"""Tables of what may follow each state."""

from collections.abc import Mapping, Set
from typing import TypeVar

S = TypeVar("S")


def reached_from(first: S, transitions: Mapping[S, Set[S]]) -> set[S]:
    """The states that a connection in this one can come to, with itself."""
    found, left = {first}, [first]
    while left:
        new = transitions[left.pop()] - found
        found |= new
        left += new
    return found
