"""core.oauth.refresh_tokens: tokens, their successors and the rules of a rotation. What a store makes of them: tests/contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.digests import digest
from sidecar.core.oauth.refresh_tokens import (
    REFUSALS,
    Family,
    FamilyAccess,
    FamilyState,
    Outcome,
    Rotation,
    derived_key,
    family_key,
    first_access,
    first_access_id,
    first_token,
    given_successor,
    grant_of_code,
    new_token,
    of_client,
    of_code,
    open_again,
    rotate,
    successor,
)
from sidecar.core.reasons import Reason

GRANT_ID = "AAECAwQFBgcICQoLDA0ODw"
TOKEN = new_token(GRANT_ID, bytes(range(32)))
KEY, OTHER = derived_key(b"k" * 32), derived_key(b"o" * 32)


def test_a_token_is_its_familys_id_and_256_bits() -> None:
    assert f"{GRANT_ID}.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" == TOKEN
    assert family_key(TOKEN) == digest(GRANT_ID)
    assert len(digest(GRANT_ID)) == 64


@pytest.mark.parametrize(
    "token",
    [
        "", ".", GRANT_ID, TOKEN + "=", TOKEN + "\n", TOKEN[:-1], TOKEN + "A", TOKEN[1:], TOKEN.replace(".", ""),
        TOKEN.replace(".", ".."), TOKEN.replace(".", ":"), TOKEN[:-1] + "9", f"{GRANT_ID[:-1]}x{TOKEN[22:]}", " " + TOKEN,
        TOKEN.replace("A", "+"), TOKEN.replace("A", "Ａ"), "a.b.c", "x" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_token_has_no_family(token: str) -> None:
    assert family_key(token) is None


def test_a_successor_is_of_the_same_family_and_follows_from_token_and_key() -> None:
    after = successor(TOKEN, KEY)
    assert family_key(after) == family_key(TOKEN)
    assert after == successor(TOKEN, KEY)
    assert len({TOKEN, after, successor(after, KEY), successor(TOKEN, OTHER)}) == 4


def test_the_key_is_not_the_signing_key() -> None:
    """HKDF of RFC 5869, as the package cryptography has it; no version may give another successor than the one before."""
    assert KEY.hex() == "bda861b1da3e9cb5cbdbd6e647d8c1b3642663ff03d93e1133776c9ce3e280ff"
    assert KEY != OTHER


def test_the_successor_that_was_given_is_found_after_the_keys_were_rotated() -> None:
    current = digest(successor(TOKEN, KEY))
    assert given_successor(TOKEN, current, [OTHER, KEY]) == successor(TOKEN, KEY)
    assert given_successor(TOKEN, current, [OTHER]) is None


def test_a_first_token_follows_from_its_code_and_its_grant() -> None:
    """And is nothing that a successor could be."""
    grant_id = grant_of_code("code")
    token = first_token(grant_id, of_code("code"), KEY)
    assert family_key(token) == digest(grant_id)
    assert token == first_token(grant_of_code("code"), of_code("code"), KEY)
    others = [
        first_token(grant_id, of_code("cod3"), KEY), first_token(grant_id, of_code("code"), OTHER),
        first_token(grant_id, of_client("code"), KEY), first_token(grant_of_code("cod3"), of_code("code"), KEY),
        successor(token, KEY),
    ]  # fmt: skip
    assert len({token, *others}) == 6
    assert grant_of_code("\ud800") != grant_of_code("\ud801"), "whatever a form held"


def test_only_the_first_token_of_a_clients_own_grant_tells_of_its_access_token() -> None:
    token = first_token(GRANT_ID, of_client("app"), KEY)
    assert first_access(token, "app", [OTHER, KEY]) == first_access_id(GRANT_ID) != GRANT_ID
    for made in (successor(token, KEY), new_token(GRANT_ID, bytes(32)), first_token(GRANT_ID, of_code("app"), KEY)):
        assert first_access(made, "app", [OTHER, KEY]) is None
    assert first_access(token, "other", [OTHER, KEY]) is None
    assert first_access(token, "app", [OTHER]) is None


FAMILY = Family("app", "alice", (), ("a",), 0, 1000)
STATE = FamilyState(FAMILY, "t1", 500, "t0", rotated=100, live=(FamilyAccess("j0", 110), FamilyAccess("j1", 900)))
ASKED = Rotation("app", "t1", "t2", (), FamilyAccess("j2", 900), True, 500)


@pytest.mark.parametrize(
    ("changes", "now", "outcome"),
    [
        ({}, 120, Outcome.ROTATED),
        ({"client_id": "x"}, 120, Outcome.FOREIGN),
        ({}, 499.9, Outcome.ROTATED),
        ({}, 500, Outcome.EXPIRED),
        ({"presented": "t0"}, 100, Outcome.REPEATED),
        ({"presented": "t0"}, 499.9, Outcome.REPEATED),
        ({"presented": "t0"}, 500, Outcome.EXPIRED),
        ({"presented": "x"}, 105, Outcome.REUSED),
        ({"presented": "t0", "repeats": False}, 100, Outcome.REUSED),
        ({"presented": ""}, 105, Outcome.REUSED),
        ({"scope": ("a",)}, 120, Outcome.ROTATED),
        ({"scope": ("b",)}, 120, Outcome.BEYOND_SCOPE),
        ({"scope": ("b",), "presented": "t0"}, 105, Outcome.BEYOND_SCOPE),
        ({"scope": ("b",), "presented": "x"}, 105, Outcome.REUSED),
    ],
)
def test_rules(changes: dict[str, object], now: float, outcome: Outcome) -> None:
    said, after = rotate(STATE, ASKED._replace(**changes), issued_too_early=False, now=now)  # type: ignore[arg-type]
    assert said is outcome
    if outcome is Outcome.ROTATED:
        assert after == FamilyState(
            FAMILY, "t2", now + 500, "t1", now, live=(FamilyAccess("j1", 900), FamilyAccess("j2", 900))
        )
    elif outcome is Outcome.REPEATED:
        assert after._replace(live=STATE.live) == STATE
        assert after.live[-1].jti == "j2"
    elif outcome is Outcome.REUSED:
        assert (after.ended, after.live, after.current) == (True, (), "")
    else:
        assert after == STATE


def test_a_family_that_was_granted_too_early_ends() -> None:
    said, after = rotate(STATE, ASKED, issued_too_early=True, now=120)
    assert (said, after.ended) == (Outcome.ENDED, True)


OPENED = FamilyState(FAMILY, "t0", 500, live=(FamilyAccess("j0", 110),))


def test_a_first_answer_is_given_again_while_nothing_of_it_was_used() -> None:
    again = open_again(OPENED, FAMILY._replace(ends=2000, issued=7), "t0", FamilyAccess("j1", 120), now=30)
    assert again == OPENED._replace(live=(FamilyAccess("j0", 110), FamilyAccess("j1", 120))), "nothing else changes"


@pytest.mark.parametrize(
    ("state", "family", "current", "now"),
    [
        (OPENED, FAMILY, "t0", 500),
        (OPENED, FAMILY, "t1", 30),
        (OPENED, FAMILY._replace(client_id="other"), "t0", 30),
        (OPENED._replace(ended=True, current=""), FAMILY, "", 30),
        (STATE, FAMILY, "t0", 30),
        (STATE, FAMILY, "t1", 30),
    ],
)
def test_a_first_answer_is_not_given_again(state: FamilyState, family: Family, current: str, now: float) -> None:
    assert open_again(state, family, current, FamilyAccess("j1", 120), now=now) is None


def test_a_family_has_a_last_moment_however_often_it_is_used() -> None:
    state, now = STATE, 120.0
    while now < 990:
        said, state = rotate(
            state, ASKED._replace(presented=state.current, successor=f"n{now}"), issued_too_early=False, now=now
        )
        assert said is Outcome.ROTATED
        now += 100
    assert (
        rotate(state, ASKED._replace(presented=state.current), issued_too_early=False, now=1000)[0] is Outcome.EXPIRED
    )


def test_a_family_is_remembered_while_anything_of_it_may_live() -> None:
    assert not STATE.forgotten(899)
    assert STATE.forgotten(900)
    assert STATE._replace(live=()).forgotten(500)


def test_every_refusal_has_a_reason() -> None:
    assert REFUSALS.keys() == set(Outcome) - {Outcome.ROTATED, Outcome.REPEATED}
    assert {reason.error for reason in REFUSALS.values()} == {"invalid_grant", "invalid_scope"}
    assert REFUSALS[Outcome.REUSED] is Reason.REFRESH_REUSED


@given(st.lists(st.sampled_from(["t0", "t1", "t2", "t3", "t4"]), max_size=12), st.booleans())
def test_a_token_never_gives_two_different_successors(presented: list[str], repeats: bool) -> None:
    state = FamilyState(FAMILY, "t0", 500)
    given: dict[str, str] = {}
    for now, token in enumerate(presented):
        asked = Rotation("app", token, f"t{int(token[1:]) + 1}", (), FamilyAccess("j", 900), repeats, 500)
        said, state = rotate(state, asked, issued_too_early=False, now=now)
        if said in (Outcome.ROTATED, Outcome.REPEATED):
            assert given.setdefault(token, state.current) == state.current
