"""TFRecord files of `tf.train.Example`, written without TensorFlow.

Worker processes would take seconds and 400 MB each to import it, for a frame and a checksum.

    record: uint64 length · uint32 masked CRC-32C of the length · bytes · uint32 the same of these
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping, Sequence

import numpy as np

_HEADER = 12  # bytes in front of a record's content
_FRAME = _HEADER + 4
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_MASK_DELTA = 0xA282EAD8


def crc32c(rows: Sequence[bytes]) -> np.ndarray:
    """Return the CRC-32C of each of many byte strings, uint32 [N].

    >>> [hex(value) for value in crc32c([b"123456789", b""])]
    ['0xe3069283', '0x0']
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    # Longest first: at each place the rows that go on are the first ones.
    order = np.argsort(-lengths, kind="stable")
    width = int(lengths.max(initial=0))
    joined = b"".join(rows[i].ljust(width, b"\0") for i in order)
    columns = np.frombuffer(joined, np.uint8).reshape(len(rows), width).T.copy()
    running: np.ndarray = np.searchsorted(-lengths[order], -np.arange(width))
    table = _table()
    state = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for place, count in enumerate(list(running)):
        part = state[:count]
        state[:count] = table[(part ^ columns[place, :count]) & 0xFF] ^ (part >> 8)
    result = np.empty(len(rows), np.uint32)
    result[order] = state ^ 0xFFFFFFFF
    return result


def masked_crc32c(rows: Sequence[bytes]) -> np.ndarray:
    """Return the checksums as TFRecord has them, rotated and moved, uint32 [N]."""
    crc = crc32c(rows)
    return ((crc >> 15) | (crc << 17)) + np.uint32(_MASK_DELTA)


def records(contents: Sequence[bytes]) -> list[bytes]:
    """Return the contents as records of a TFRecord file, to be written one behind the other."""
    if not contents:
        return []
    lengths = [struct.pack("<Q", len(content)) for content in contents]
    marks = masked_crc32c(lengths).tolist(), masked_crc32c(contents).tolist()
    pack = struct.Struct("<I").pack
    return [
        b"".join((length, pack(first), content, pack(second)))
        for length, first, content, second in zip(
            lengths, marks[0], contents, marks[1], strict=True
        )
    ]


def content_of(record: bytes) -> bytes:
    """Return what is inside of one record; its checksum is `checksum_of`."""
    return record[_HEADER:-4]


def checksum_of(record: bytes) -> int:
    """Return the checksum that a record states of its content."""
    return struct.unpack("<I", record[-4:])[0] if len(record) >= _FRAME else -1


def examples(features: Mapping[str, Sequence[np.ndarray]]) -> list[bytes]:
    """Return `tf.train.Example`s of lists of integers from 0 on, features in order of names.

    Args:
        features: for each name the values of all examples, an array for each.
    """
    packed = {name: varints(features[name]) for name in sorted(features)}
    columns = [[_head(name, len(one)) + one for one in rows] for name, rows in packed.items()]
    contents = map(b"".join, zip(*columns, strict=True))
    return [_field_head(1, len(content)) + content for content in contents]


@functools.lru_cache(maxsize=1 << 16)
def _head(name: str, size: int) -> bytes:
    """Return what stands in front of a feature's values, which are `size` bytes."""
    key = _field_head(1, len(name.encode())) + name.encode()
    inner = _field_head(1, size)  # of Int64List
    middle = _field_head(3, len(inner) + size) + inner  # of Feature
    outer = _field_head(2, len(middle) + size) + middle
    return _field_head(1, len(key) + len(outer) + size) + key + outer


def varints(rows: Sequence[np.ndarray]) -> list[bytes]:
    r"""Return the values of each row as protobuf's varints, low seven bits first.

    >>> varints([np.array([1, 300]), np.array([], int)])
    [b'\x01\xac\x02', b'']
    """
    values = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    places = np.empty((len(values), width), np.uint8)
    is_there = np.ones(places.shape, bool)
    sizes = np.ones(len(values), np.int64)
    left = values
    for place in range(width):
        places[:, place] = left & 0x7F
        left = left >> 7
        if place + 1 < width:
            goes_on = left > 0
            places[:, place] += goes_on * np.uint8(0x80)
            is_there[:, place + 1] = goes_on
            sizes += goes_on
    data = places[is_there].tobytes()
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    ends = before[np.cumsum([len(row) for row in rows], dtype=np.int64)].tolist()
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@functools.lru_cache(maxsize=1 << 16)
def _field_head(number: int, size: int) -> bytes:
    """Return what stands in front of a protobuf field of `size` bytes."""
    return b"".join(varints([np.array([number << 3 | 2, size])]))


@functools.cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)
