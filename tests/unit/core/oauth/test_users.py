"""core.oauth.users: passwords, and that nobody learns which names exist."""

import time
import unicodedata

import pytest
from argon2 import PasswordHasher

from sidecar.core.oauth.users import (
    LONGEST_PASSWORD,
    InvalidPasswordHash,
    User,
    UserDirectory,
    check_password_hash,
    hash_password,
)
from sidecar.core.reasons import Reason, Refused

QUICK = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
KEY = bytes(32)
HASH = QUICK.hash("secret")


def directory(*users: User) -> UserDirectory:
    return UserDirectory(users or [User("anna", HASH, ("clerk",)), User("off", HASH, disabled=True)], KEY)


def test_who_knows_the_password_is_the_user() -> None:
    assert directory().authenticate("anna", "secret").roles == ("clerk",)
    assert directory().find("anna") == User("anna", HASH, ("clerk",))


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("anna", "Secret"), ("anna", "secret "), ("anna", ""), ("anna", "secret\0"), ("anna", "\ud800"), ("anna", HASH),
        ("Anna", "secret"), ("anna ", "secret"), ("", "secret"), ("off", "secret"), ("nobody", "secret"), ("\ud800", "x"),
        ("anna", "s" * (LONGEST_PASSWORD + 1)),
    ],
)  # fmt: skip
def test_anybody_else_reads_the_same(username: str, password: str) -> None:
    with pytest.raises(Refused) as caught:
        directory().authenticate(username, password)
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_CREDENTIALS, Reason.BAD_CREDENTIALS.sentence)
    assert caught.value.client_id is None


def test_only_the_name_of_a_user_is_said() -> None:
    for typed in ("anna", "off"):
        assert directory().name(typed) == typed
    for typed in ("Anna", "anna ", "", "secret", "\ud800"):
        assert directory().name(typed) is None


def test_the_form_in_which_a_keyboard_sends_it_does_not_matter() -> None:
    composed, decomposed = (unicodedata.normalize(form, "pässwörd") for form in ("NFC", "NFD"))
    users = directory(User("anna", hash_password(decomposed)))
    assert users.authenticate("anna", composed).username == "anna"


def test_without_users_everybody_is_refused() -> None:
    with pytest.raises(Refused):
        UserDirectory([], KEY).authenticate("anna", "secret")


def test_an_unknown_name_costs_what_a_known_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash each, always the same one for a name, and of every user's hashes in turn."""
    seen: list[str] = []

    def matches(encoded: str, password: str) -> bool:
        seen.append(encoded)
        return False

    monkeypatch.setattr("sidecar.core.oauth.users._matches", matches)
    users = directory(User("a", "hash-a"), User("b", "hash-b"))
    names = [f"nobody{number}" for number in range(50)]
    for name in [*names, *names]:
        with pytest.raises(Refused):
            users.authenticate(name, "x")
    assert seen[:50] == seen[50:]
    assert set(seen) == {"hash-a", "hash-b"}


def test_time_tells_unknown_from_known_names_apart_by_nothing() -> None:
    def seconds(username: str) -> float:
        began = time.process_time()
        with pytest.raises(Refused):
            users.authenticate(username, "wrong")
        return time.process_time() - began

    users = directory(User("anna", QUICK.hash("secret")))
    known, unknown = (min(seconds(name) for _ in range(15)) for name in ("anna", "nobody"))
    assert 0.5 < known / unknown < 2


def test_nothing_shows_a_hash() -> None:
    assert HASH not in f"{directory()!r} {User('anna', HASH)!r}"


@pytest.mark.parametrize("text", [HASH, hash_password("x"), PasswordHasher().hash("x")])
def test_a_hash_that_can_be_checked_is_taken(text: str) -> None:
    check_password_hash(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not"),
        ("secret", "is not"),
        (HASH.replace("argon2id", "argon2i"), "is not"),
        (HASH.replace("v=19", "v=16"), "is not"),
        ("scrypt$ln=14,r=8,p=1$AAAA$BBBB", "is not"),
        (HASH + "\n", "is not"),
        (HASH[:-20], "is not"),
        (HASH[:-1], "is not"),
        (HASH + "A", "is not"),
        (HASH[:-1] + "B", "was cut"),  # stray bits
        (HASH.replace("m=8192", "m=1024"), "out of bounds"),
        (HASH.replace("m=8192", "m=4194304"), "out of bounds"),
        (HASH.replace("t=1", "t=0"), "out of bounds"),
        (HASH.replace("t=1", "t=999"), "out of bounds"),
        (HASH.replace("p=1", "p=0"), "out of bounds"),
    ],
)
def test_any_other_is_a_fault_that_does_not_show_it(text: str, fault: str) -> None:
    with pytest.raises(InvalidPasswordHash, match=fault) as caught:
        check_password_hash(text)
    assert not text or text not in str(caught.value)
