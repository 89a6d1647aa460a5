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


def example(features: Mapping[str, Sequence[int]]) -> bytes:
    """Return a `tf.train.Example` of lists of integers from 0 on, features in order of names."""
    return _field(1, b"".join(_feature(name, features[name]) for name in sorted(features)))


def _feature(name: str, values: Sequence[int]) -> bytes:
    try:
        packed = b"".join(map(_small_varints().__getitem__, values))
    except IndexError:
        packed = b"".join(map(_varint, values))
    int64_list = _field(3, _field(1, packed))
    return _field(1, _field(1, name.encode()) + _field(2, int64_list))


def _field(number: int, content: bytes) -> bytes:
    """Return a protobuf field whose value is bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@functools.cache
def _small_varints() -> list[bytes]:
    """Return those of the ids of most vocabularies."""
    return [_varint(value) for value in range(1 << 16)]


@functools.lru_cache(maxsize=1 << 12)
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@functools.cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)
