"""How state is spread over a Cluster."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from sidecar.core.digests import digest
from sidecar.core.oauth.refresh_tokens import access_id, first_access_id
from sidecar.core.partitions import (
    MOST,
    hash_tag,
    partition_prefixes,
    place_of_entry,
    place_of_key,
    place_of_token,
    slot_of,
)
from sidecar.core.revocations import NotBefore, family_end

TAGS: dict[str, str | None] = {
    "{sidecar}": "sidecar", "a{b}c": "b", "{a}{b}": "a", "{{a}": "{a", "": None, "a": None, "{}": None, "{}{a}": None, "{a": None,
    "a}": None, "}{a}": "a",
}  # fmt: skip


@pytest.mark.parametrize("prefix", TAGS)
def test_the_hash_tag_is_that_of_the_specification(prefix: str) -> None:
    tag = hash_tag(prefix)
    assert tag == TAGS[prefix]
    if tag is not None:
        assert slot_of(tag) == key_slot(f"{prefix}:any".encode())


@given(st.text(min_size=1, max_size=20).filter(lambda text: "}" not in text and "{" not in text))
def test_the_slot_is_that_of_the_client_library(tag: str) -> None:
    assert slot_of(tag) == key_slot(tag.encode())


@pytest.mark.parametrize("prefix", ["{sidecar}", "prod{auth}:x", "{a}{b}"])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 6, 8, 16])
def test_partitions_lie_evenly_on_the_nodes(prefix: str, nodes: int) -> None:
    slots = [key_slot(f"{each}:revoked".encode()) for each in partition_prefixes(prefix, 16)]
    held = Counter(slot * nodes // 16384 for slot in slots)
    assert len(held) == nodes
    assert max(held.values()) - min(held.values()) <= 2


@pytest.mark.parametrize("prefix", ["{sidecar}", "prod{auth}:x"])
def test_a_partition_has_one_name_whatever_the_number_of_partitions(prefix: str) -> None:
    most = partition_prefixes(prefix, MOST)
    assert len(set(most)) == len({slot_of(hash_tag(each) or "") for each in most}) == MOST
    assert all(partition_prefixes(prefix, count) == most[:count] for count in (1, 2, 16, 33))
    assert most[0].startswith(prefix.partition("}")[0] + "-0-")


@pytest.mark.parametrize(("prefix", "count"), [("sidecar", 16), ("{}", 16), ("{a}", 0), ("{a}", MOST + 1)])
def test_what_cannot_be_spread_is_an_error(prefix: str, count: int) -> None:
    with pytest.raises(ValueError, match="hash tag"):
        partition_prefixes(prefix, count)


@given(st.text(max_size=20), st.text(max_size=30), st.integers(1, MOST))
def test_a_family_and_its_access_tokens_are_in_one_place(grant_id: str, unique: str, count: int) -> None:
    key = digest(grant_id)
    place = place_of_token(key, count)
    assert place_of_entry(access_id(key, unique), count) == place
    assert place_of_entry(first_access_id(grant_id), count) == place
    assert place_of_entry(family_end(key), count) == place


def test_a_not_before_time_is_in_every_place() -> None:
    assert place_of_entry(NotBefore("client", "family 0 x", 5).entry, 16) is None
    assert place_of_entry(NotBefore("all", "", 5).entry, 16) is None


def test_names_are_spread_evenly() -> None:
    for place in (place_of_key, place_of_token):
        held = Counter(place(digest(str(number)), 16) for number in range(16000))
        assert len(held) == 16
        assert max(held.values()) < 1.3 * min(held.values())


@given(st.text(max_size=10))
def test_any_text_has_a_place(text: str) -> None:
    assert 0 <= place_of_token(text, 7) < 7
    assert 0 <= place_of_key(text + "\ud800", 7) < 7
