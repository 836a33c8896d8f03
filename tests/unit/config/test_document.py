"""Reading YAML: strict where it surprises, references resolved, nothing that grows without bound."""

import time
from pathlib import Path

import pytest

from sidecar.config.document import read_document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.yaml"


def read(file: Path, text: str) -> object:
    file.write_text(text)
    document, faults = read_document(file)
    assert faults == []
    return document


def faults_of(file: Path, text: str) -> list[str]:
    file.write_text(text)
    return [str(fault) for fault in read_document(file)[1]]


def test_a_date_stays_a_text(file: Path) -> None:
    assert read(file, "kid: 2026-11-23") == {"kid": "2026-11-23"}


def test_a_duplicate_key_is_a_fault_with_its_line(file: Path) -> None:
    (fault,) = faults_of(file, "a: 1\nb:\n  c: 1\n  c: 2\n")
    assert "line 4" in fault
    assert "duplicate key" in fault


def test_references_are_resolved_inside_a_text(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "p")
    (file.parent / "host").write_text("h\n")
    assert read(file, "a: [{url: 'redis://:${env:PASSWORD}@${file:host}/0'}]") == {"a": [{"url": "redis://:p@h/0"}]}


def test_one_newline_at_the_end_of_a_file_is_dropped(file: Path) -> None:
    for content, expected in (("x\n", "x"), ("x\r\n", "x"), ("x\n\n", "x\n"), (" x ", " x "), ("", "")):
        (file.parent / "secret").write_bytes(content.encode())
        assert read(file, "a: ${file:secret}") == {"a": expected}


def test_what_a_reference_gives_is_not_resolved_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "${env:B}")
    assert read(file, "a: ${env:A}") == {"a": "${env:B}"}


def test_a_reference_that_cannot_be_resolved_is_a_fault_with_its_path(file: Path) -> None:
    (file.parent / "binary").write_bytes(b"\xff")
    faults = faults_of(file, "a:\n - b: ${env:NOT_SET_ANYWHERE}\n - ${file:none}\n - ${file:binary}\n - ${file:.}\n")
    assert [fault.partition(":")[0] for fault in faults] == ["a[0].b", "a[1]", "a[2]", "a[3]"]
    assert "environment variable NOT_SET_ANYWHERE is not set" in faults[0]


@pytest.mark.parametrize(
    "text",
    ["a: !!python/object/apply:os.system ['true']", "!!python/name:os.system {}", "a: !x b", "[a, b]: c", "{a: b}: c"],
)
def test_yaml_that_makes_objects_is_refused(file: Path, text: str) -> None:
    assert faults_of(file, text)


def test_a_billion_laughs_end_at_once(file: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    begun = time.monotonic()
    assert faults_of(file, "\n".join(lines))
    assert time.monotonic() - begun < 20, "it would take for ever"


def test_deep_nesting_is_a_fault(file: Path) -> None:
    assert faults_of(file, "a: " + "[" * 5000)
    assert faults_of(file, "a: " + "[" * 5000 + "]" * 5000)


def test_a_value_that_holds_itself_is_a_fault(file: Path) -> None:
    assert faults_of(file, "a: &a [*a]")


@pytest.mark.parametrize(
    "text", ["a: !env X", "a: !x [b]", "a: !x {b: c}", "a: !env ''", "a: '${X}'", "a: 'b${'", "a: '${env:X}${'"]
)
def test_what_stands_elsewhere_in_another_tools_words_is_a_fault_with_its_path(file: Path, text: str) -> None:
    (fault,) = faults_of(file, f"b: [{{{text}}}]")
    assert fault.startswith("b[0].a: ")
    assert "${env:NAME}" in fault


@pytest.mark.parametrize("text", ["a: {{ env.X }}", "!env X: a", "a: %X%", "a: @X@", "a: {% env X %}"])
def test_what_is_no_yaml_for_it_says_so_with_its_line(file: Path, text: str) -> None:
    (fault,) = faults_of(file, f"b: c\n{text}\n")
    assert "line 2" in fault
    assert "${env:NAME}" in fault


@pytest.mark.parametrize(
    "reference", ["${env:X:-canary}", "${env:X-canary}", "${env: canary}", "${env:}", "${file:x:-canary}"]
)
def test_a_reference_has_no_default_and_does_not_show_one(file: Path, reference: str) -> None:
    (fault,) = faults_of(file, f"a: '{reference}'")
    assert fault.startswith("a: the reference names nothing")
    assert "canary" not in fault


def test_a_variable_with_an_odd_name_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("my-secret.1", "x")
    assert read(file, "a: ${env:my-secret.1}") == {"a": "x"}


def test_a_key_is_no_reference(file: Path) -> None:
    assert faults_of(file, "a: {'${env:X}': b}") == ["a: a key cannot be a reference: write it out"]
