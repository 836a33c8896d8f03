"""Certificate files that change, vanish and come back."""

from pathlib import Path

import pytest

from sidecar import tls
from sidecar.tls import CertificateWatch, InvalidTls, server_context
from tests.support.certificates import Authority, Pair


class Watched:
    """A watch, what it reported, and how many contexts it made."""

    def __init__(self, pair: Pair) -> None:
        self.reports: list[str | None] = []
        self.made = 0
        files = (pair.certificate, pair.key, None)
        self.watch = CertificateWatch(server_context, files, apply=lambda _: self._made(), report=self.reports.append)

    def _made(self) -> None:
        self.made += 1


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("server", "localhost")


def test_files_that_are_gone_are_told_once_and_again_when_they_are_back(pair: Pair) -> None:
    watched = Watched(pair)
    text = pair.key.read_bytes()
    pair.key.unlink()
    for _ in range(3):
        watched.watch.check()
    assert watched.reports == ["one of the files cannot be read"]
    pair.key.write_bytes(text)
    watched.watch.check()
    watched.watch.check()
    assert (watched.reports[1:], watched.made) == ([None], 0)


def test_files_that_were_gone_at_the_start_are_taken_up(pair: Pair) -> None:
    text = pair.key.read_bytes()
    pair.key.unlink()
    watched = Watched(pair)
    pair.key.write_bytes(text)
    watched.watch.check()
    assert (watched.reports, watched.made) == ([None], 1)


def test_files_that_vanish_while_they_are_read_are_read_again(
    pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a symlink moves between two looks: the same content counts as new again."""
    watched = Watched(pair)
    authority.issue("server", "renewed")
    aside = pair.key.with_suffix(".aside")
    load = tls.server_context

    def vanish(*files: Path) -> object:
        pair.key.rename(aside)
        return load(*files)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.watch, "_create", vanish)
    watched.watch.check()
    monkeypatch.undo()
    aside.rename(pair.key)
    watched.watch.check()
    assert watched.made == 1
    assert [report is None for report in watched.reports] == [False, True]


def test_a_key_of_another_certificate_is_named(pair: Pair, authority: Authority) -> None:
    other = authority.issue("other", "localhost")
    with pytest.raises(InvalidTls, match="cannot be used together"):
        tls.server_context(pair.certificate, other.key, None)
