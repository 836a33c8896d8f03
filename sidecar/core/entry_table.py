"""A table of texts, each with an integer, that takes about 40 bytes of memory for a text of 22 characters.

A dictionary takes four times as much: an object per text, and a hash table over them. Here the texts are bytes in *buckets*,
each of which is one `bytearray`:

- A bucket has at most 48 *records*, all of one width: the bytes of the text, then the integer. A lookup finds the bucket by the
  text's hash, and searches the bucket.
- The first bits of the hash are the index of a *slot*. Slots with the same first bits can share a bucket. A bucket that becomes
  full is divided between its slots. When it has only one slot, each slot is first made into two. So no operation moves all
  entries at once (extendible hashing). With a million entries, the longest takes some milliseconds.
- Each slot has a lower bound of the integers of its entries. That finds the smallest entries without a second index.
- Each length has its own buckets, because all records of a bucket have one width.

The hash is Python's, which is seeded at random in each process, so nobody can choose texts that meet in one bucket.
"""

import math
from array import array
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

_END: Final = Struct(">q")
_FULL: Final = 48  # records in a bucket, from which on it is divided
_BITS: Final = 30  # of a hash that are used; Python computes fastest with up to 30
_HASH: Final = (1 << _BITS) - 1
_NEVER: Final = (1 << 63) - 1
_DENSE: Final = 4  # records per slot, above which there can be more slots
_SPARSE: Final = 2  # records per slot, below which there are too many slots


class EntryTable:
    """A mapping from texts to integers of 64 bits, to which entries are added, and from which those with small integers are
    dropped."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[int, _Buckets] = {}  # by the number of bytes of a text

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def __contains__(self, text: str) -> bool:
        key = _key(text)
        buckets = self._tables.get(len(key))
        return buckets is not None and key in buckets

    def add(self, entries: Iterable[tuple[str, int]]) -> None:
        """Add entries. A text that is already there keeps the larger integer."""
        tables = self._tables
        for text, end in entries:
            key = _key(text)
            buckets = tables.get(len(key))
            if buckets is None:
                buckets = tables[len(key)] = _Buckets(len(key))
            buckets.add(key, end)

    def drop(self, limit: float, at_most: float = math.inf) -> bool:
        """Drop the entries with integers up to `limit`, but at most `at_most` entries (1 or more). Returns False if it stopped
        at that number."""
        for buckets in list(self._tables.values()):
            at_most = buckets.drop(limit, at_most)
            if at_most <= 0:
                return False
            if not buckets:
                del self._tables[buckets.size]
        return True

    def above(self, limit: float) -> Iterator[tuple[str, int]]:
        """The entries with integers above `limit`. The table may change meanwhile: an entry that is there throughout is found;
        others may be missing, and an entry may be found twice."""
        for buckets in list(self._tables.values()):
            for key, end in buckets.above(limit):
                yield key.decode("utf-8", "surrogatepass"), end


class _Buckets:
    """The entries of texts with `size` bytes."""

    __slots__ = ("_count", "_ends", "_least", "_records", "_shift", "_slots", "_width", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._records = Struct(f">{size}sq")
        self._ends = Struct(f">{size}xq")
        self._width = self._records.size
        self._slots = [bytearray()]  # the bucket of each slot
        self._least = array("q", [_NEVER])  # for each slot, no entry has a smaller integer
        self._shift = _BITS  # a hash without so many last bits is the index of a slot
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: bytes) -> bool:
        bucket = self._slots[(hash(key) & _HASH) >> self._shift]
        at = bucket.find(key)
        while at >= 0 and at % self._width:  # it begins inside a record
            at = bucket.find(key, at + 1)
        return at >= 0 and bool(bucket)  # the empty text is found even in an empty bucket

    def add(self, key: bytes, end: int) -> None:
        slot = (hash(key) & _HASH) >> self._shift
        bucket, width = self._slots[slot], self._width
        at = bucket.find(key)
        while at >= 0 and at % width:
            at = bucket.find(key, at + 1)
        if at < 0 or not bucket:
            bucket += key + _END.pack(end)
            self._count += 1
            if end < self._least[slot]:  # noqa: PLR1730  `min` takes three times as long
                self._least[slot] = end
            if len(bucket) >= _FULL * width:
                self._divide(slot)
        elif end > _END.unpack_from(bucket, at + self.size)[0]:
            _END.pack_into(bucket, at + self.size, end)

    def _divide(self, slot: int) -> None:
        """Divide a bucket between the two halves of its slots."""
        first, after = self._shared(slot)
        if after - first == 1:
            if self._count < _DENSE * len(self._slots):
                return  # so many texts have nearly the same hash that more slots would not separate them
            self._double()
            first, after = 2 * first, 2 * after
        middle = (first + after) // 2
        halves = bytearray(), bytearray()
        for key, end in self._records.iter_unpack(self._slots[first]):
            halves[(hash(key) & _HASH) >> self._shift >= middle].extend(key + _END.pack(end))
        self._slots[first:middle] = [halves[0]] * (middle - first)
        self._slots[middle:after] = [halves[1]] * (after - middle)

    def _shared(self, slot: int) -> tuple[int, int]:
        """The first slot with the bucket of this one, and the first one after them."""
        slots, bucket, first, after = self._slots, self._slots[slot], slot, slot + 1
        while first and slots[first - 1] is bucket:
            first -= 1
        while after < len(slots) and slots[after] is bucket:
            after += 1
        return first, after

    def _double(self) -> None:
        """Make each slot into two, which share its bucket."""
        self._slots = [bucket for bucket in self._slots for _ in range(2)]
        self._least = array("q", (least for least in self._least for _ in range(2)))
        self._shift -= 1

    def _halve(self) -> None:
        """Make each two slots into one."""
        slots = self._slots
        for first, second in zip(slots[::2], slots[1::2], strict=True):
            if first is not second:
                first += second  # noqa: PLW2901  in place
        self._slots = slots[::2]
        self._least = array("q", map(min, self._least[::2], self._least[1::2]))
        self._shift += 1

    def drop(self, limit: float, at_most: float) -> float:
        """Drop entries as `EntryTable.drop`. Returns how many more could be dropped: 0 if it stopped for that reason."""
        for slot in [slot for slot, least in enumerate(self._least) if least <= limit]:
            if self._least[slot] <= limit:  # not yet looked at as part of the same bucket
                at_most -= self._drop(slot, limit, at_most)
                if at_most <= 0:
                    break
        if len(self._slots) > 1 and self._count < _SPARSE * len(self._slots):
            self._halve()
        return at_most

    def _drop(self, slot: int, limit: float, at_most: float) -> int:
        """Drop entries of one bucket. Returns how many."""
        bucket, width = self._slots[slot], self._width
        ends = [end for (end,) in self._ends.iter_unpack(bucket)]
        small = [number for number, end in enumerate(ends) if end <= limit]
        if len(small) > at_most:
            del small[int(at_most) :]
        for number in reversed(small):
            del bucket[number * width : (number + 1) * width], ends[number]
        first, after = self._shared(slot)
        self._least[first:after] = array("q", [min(ends, default=_NEVER)] * (after - first))
        self._count -= len(small)
        return len(small)

    def above(self, limit: float) -> Iterator[tuple[bytes, int]]:
        """Goes by hashes instead of slots, because a slot can become two, and two one, between two entries."""
        position = 0
        while position <= _HASH:
            slot = position >> self._shift
            position = self._shared(slot)[1] << self._shift
            for key, end in list(self._records.iter_unpack(self._slots[slot])):
                if end > limit:
                    yield key, end


def _key(text: str) -> bytes:
    """Different for each text, also for one with half of a surrogate pair, which a JSON text can contain."""
    return text.encode("utf-8", "surrogatepass")
