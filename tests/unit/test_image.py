"""The image: what its Dockerfile says. `make image-test` builds and runs it."""

from tests.support.documents import ROOT


def test_the_image_runs_as_a_number_and_gets_its_signals() -> None:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    assert "USER 65532:65532" in lines
    assert 'ENTRYPOINT ["sidecar"]' in lines
    assert not any(line.startswith("ADD ") for line in lines)
    final = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert [line for line in final if line.startswith("COPY ")] == ["COPY --from=build /opt/sidecar /opt/sidecar"]


def test_the_image_copies_only_what_the_build_context_lets_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= {part.removeprefix("./") for part in line.split()[1:-1]}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
