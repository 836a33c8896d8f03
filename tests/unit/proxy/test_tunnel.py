"""Where WebSocket frames end, whatever is in them and however they are cut."""

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.proxy.tunnel import Frames, close_frame


def frame(size: int, *, masked: bool, opcode: int = 2) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes([0x80 | opcode, mask | size])
    elif size < 65536:
        head = bytes([0x80 | opcode, mask | 126]) + struct.pack(">H", size)
    else:
        head = bytes([0x80 | opcode, mask | 127]) + struct.pack(">Q", size)
    return head + (b"MASK" if masked else b"") + b"\x00" * size


sizes = st.lists(st.sampled_from([0, 1, 125, 126, 127, 300, 65535, 65536, 70000]), min_size=1, max_size=5)


@given(sizes, st.booleans(), st.data())
def test_every_end_is_found_however_the_bytes_are_cut(lengths: list[int], masked: bool, data: Any) -> None:
    frames = [frame(size, masked=masked) for size in lengths]
    ends, total = set(), 0
    for one in frames:
        total += len(one)
        ends.add(total)
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    tracker, position = Frames(), 0
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        first = tracker.take(stream[start:end])
        inside = sorted(e for e in ends if start < e <= end)
        assert first == (inside[0] - start if inside else -1)
        position = end
        assert tracker.between == (position in ends or position == 0)


def test_a_close_frame_reads_as_one() -> None:
    plain = close_frame(1008, "token revoked", masked=False)
    assert plain == b"\x88\x0f\x03\xf0token revoked"
    masked = close_frame(1008, "token revoked", masked=True)
    assert masked[:2] == b"\x88\x8f"
    mask = masked[2:6]
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked[6:])) == plain[2:]
    tracker = Frames()
    assert tracker.take(masked) == len(masked)
    assert tracker.between
