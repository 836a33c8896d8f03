"""The section `streams`."""

from pathlib import Path

from tests.support.settings import assert_refused, changed, settings_of


def test_streams_end_with_their_token_unless_the_operator_says_no(file: Path) -> None:
    assert settings_of(file, changed()).streams.end_with_token is True
    assert settings_of(file, changed(streams__end_with_token=False)).streams.end_with_token is False
    assert_refused(file, changed(streams__end_with_token="no"), "streams.end_with_token: ")
