"""Keys and arguments of Lua scripts, by name on both sides."""

import re
from typing import Any

import pytest

from sidecar.stores.redis import family_scripts, scripts
from sidecar.stores.redis.lua import BoundScript, Script

ALL = {
    name: value
    for module in (scripts, family_scripts)
    for name, value in vars(module).items()
    if isinstance(value, Script)
}
# https://www.lua.org/manual/5.1/manual.html#2.1
RESERVED = {
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
    "repeat", "return", "then", "true", "until", "while",
}  # fmt: skip
WITH_BOTH = Script(keys=("first", "second"), args=("clock", "word"), more_args="scopes", body="return 1")


class Sent:
    """Stands in for redis-py's script: remembers what it was to send."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], list[Any]]] = []

    async def __call__(self, *, keys: list[Any], args: list[Any]) -> str:
        self.calls.append((keys, args))
        return "answer"


def bound(script: Script) -> tuple[BoundScript, Sent]:
    sent = Sent()
    return BoundScript(script, sent), sent  # type: ignore[arg-type]


# The header.


def test_names_become_locals_and_the_further_arguments_a_table() -> None:
    assert WITH_BOTH.text == (
        "local first, second = KEYS[1], KEYS[2]\n"
        "local clock, word = ARGV[1], ARGV[2]\n"
        "local scopes = {}\n"
        "for i = 3, #ARGV do scopes[i - 2] = ARGV[i] end\n"
        "return 1"
    )


def test_a_script_of_nothing_but_further_keys_uses_the_table_of_redis() -> None:
    assert Script(more_keys="budgets", body="return #budgets").text == "local budgets = KEYS\nreturn #budgets"


@pytest.mark.parametrize(
    "declared",
    [
        {"keys": ("a", "a")},
        {"keys": ("a",), "args": ("a",)},
        {"args": ("a",), "more_args": "a"},
        {"more_keys": "a", "more_args": "a"},
    ],
    ids=["twice a key", "key and argument", "argument and table", "both tables"],
)
def test_no_name_is_declared_twice(declared: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="declared twice: a, a"):
        Script(body="", **declared)


@pytest.mark.parametrize("name", ALL)
def test_each_name_can_be_a_local_and_the_body_does_not_hide_it(name: str) -> None:
    script = ALL[name]
    hidden = {
        word.strip()
        for line in re.findall(r"^local (?:function )?([\w, ]+)", script.body, re.MULTILINE)
        for word in line.split(",")
    }
    for each in script.names:
        assert re.fullmatch("[a-z_]+", each)
        assert each not in RESERVED
        assert each not in hidden


@pytest.mark.parametrize("name", ALL)
def test_no_body_counts_keys_or_arguments(name: str) -> None:
    assert not re.search(r"\b(KEYS|ARGV)\b", ALL[name].body)


@pytest.mark.parametrize("name", ALL)
def test_a_script_stays_far_below_the_most_locals_of_a_lua_function(name: str) -> None:
    assert len(re.findall(r"\blocal\b", ALL[name].text)) + len(ALL[name].names) < 150  # of 200


# The call.


async def test_a_call_sends_what_is_named_in_the_order_of_the_declaration() -> None:
    call, sent = bound(WITH_BOTH)
    command = call({"second": "k2", "first": "k1"}, {"word": b"w", "clock": 1.5}, more_args=["a", "b"])
    assert sent.calls == []
    assert await command() == "answer"
    assert await command() == "answer"  # on a new connection
    assert sent.calls == [(["k1", "k2"], [1.5, b"w", "a", "b"])] * 2


async def test_any_number_of_further_keys_and_arguments_may_be_none() -> None:
    call, sent = bound(Script(more_keys="budgets", more_args="rates", body=""))
    await call({}, more_keys=[], more_args=[])()
    await call({}, more_keys=["k"], more_args=[1, 2])()
    assert sent.calls == [([], []), (["k"], [1, 2])]


KEYS, ARGS = {"first": "k1", "second": "k2"}, {"clock": 1.5, "word": "w"}


@pytest.mark.parametrize(
    ("keys", "args", "more", "message"),
    [
        ({"first": "k1"}, ARGS, {"more_args": []}, r"keys .* missing \['second'\], unknown \[\]"),
        ({**KEYS, "third": "k3"}, ARGS, {"more_args": []}, r"keys .* missing \[\], unknown \['third'\]"),
        (KEYS, {"clock": 1.5}, {"more_args": []}, r"arguments .* missing \['word'\], unknown \[\]"),
        (KEYS, {"clock": 1.5, "wrod": "w"}, {"more_args": []}, r"missing \['word'\], unknown \['wrod'\]"),
        (KEYS, ARGS, {}, "further arguments of the script: scopes are missing"),
        (KEYS, ARGS, {"more_args": [], "more_keys": ["k"]}, "further keys of the script: it takes none"),
    ],
    ids=["missing key", "unknown key", "missing argument", "misspelt argument", "missing table", "unknown table"],
)
def test_a_call_that_is_not_as_declared_is_an_error_before_anything_is_sent(
    keys: dict[str, str], args: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    call, sent = bound(WITH_BOTH)
    with pytest.raises(TypeError, match=message):
        call(keys, args, **more)
    assert sent.calls == []


def test_a_script_is_shown_by_its_names() -> None:
    call, _ = bound(WITH_BOTH)
    assert repr(call) == "<BoundScript first, second, clock, word, scopes>"
    assert call.text == WITH_BOTH.text
