"""The log's frames: how an answer lies on the disk.

    header (64 bytes) | keys (16 a row) | text (JSON) | padding to 16 | vectors (float32, row-major)

All little-endian. The header's checksum covers header, keys and text; the vectors have their own,
so that a log is opened by reading its heads. `durable` says how much of the segment was on the
disk when the frame was written: a bad frame before that point is damage, one after it is the torn
tail that a power cut leaves. After RELIABILITY (d.2), with content keys in place of row numbers.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.store.content_keys import KEY_BYTES, Keys

FORMAT = 1
MAGIC = b"TVLF"
_HEADER = struct.Struct("<4sBBHIIIQQQII12x")  # the two last: the vectors' checksum, the head's
HEADER_BYTES = _HEADER.size
_HEAD_CRC_AT = 4 + 4 + 12 + 24 + 4
_ALIGN = 16
UNKNOWN = (1 << 64) - 1
MAX_ROWS = 1 << 20
MAX_DIMENSIONS = 1 << 17
MAX_TEXT_BYTES = 64 << 20


class Kind(IntEnum):
    """What a frame says."""

    SEGMENT = 1  # the first of each segment: text names format, identity and number
    ANSWER = 2  # keys and their vectors
    REFUSED = 3  # keys that the endpoint refuses; text is the list of reasons
    NOTE = 4  # text alone: a learned limit, an output about to be published, a finished run


class Frame(NamedTuple):
    """One frame to be written.

    `tokens` is what the endpoint counted. Where it did not say, an answer has our own count and
    `"estimated": true` in its text; what versions before that wrote has None.
    """

    kind: Kind
    keys: Keys
    text: bytes = b""
    vectors: NDArray[np.float32] | None = None
    tokens: int | None = None


class Head(NamedTuple):
    """A frame's head as read: everything but its vectors. Offsets are of the segment."""

    kind: Kind
    rows: int
    dimensions: int
    tokens: int | None
    sequence: int
    durable: int
    vectors_crc: int
    keys: Keys
    text: bytes
    at: int
    vectors_at: int
    end: int


class Header(NamedTuple):
    """The fixed fields of a frame; enough to know how long head and frame are."""

    kind: int
    rows: int
    dimensions: int
    text_bytes: int
    sequence: int
    durable: int
    tokens: int
    vectors_crc: int
    head_crc: int

    @property
    def head_bytes(self) -> int:
        """Bytes up to the vectors, padding included."""
        return _padded(HEADER_BYTES + self.rows * KEY_BYTES + self.text_bytes)

    @property
    def frame_bytes(self) -> int:
        """Bytes of the whole frame."""
        return self.head_bytes + _padded(self.rows * self.dimensions * 4)


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def encode(frame: Frame, sequence: int, durable: int) -> list[bytes | memoryview]:
    """Return a frame as buffers to be written one after another; the vectors are not copied."""
    vectors = frame.vectors
    dimensions = 0 if vectors is None else vectors.shape[1]
    body: list[bytes | memoryview] = []
    crc = 0
    if vectors is not None:
        data = np.ascontiguousarray(vectors, "<f4").data.cast("B")
        crc = zlib.crc32(data)
        body = [data, bytes(_padded(len(data)) - len(data))]
    tokens = UNKNOWN if frame.tokens is None else frame.tokens
    fields = [MAGIC, int(frame.kind), FORMAT, 0, len(frame.keys), dimensions, len(frame.text),
              sequence, durable, tokens, crc, 0]  # fmt: skip
    rest = frame.keys.astype("<u8").tobytes() + frame.text
    rest += bytes(_padded(HEADER_BYTES + len(rest)) - HEADER_BYTES - len(rest))
    fields[-1] = _head_crc(_HEADER.pack(*fields), rest)
    return [_HEADER.pack(*fields) + rest, *body]


def _head_crc(header: bytes, rest: bytes | memoryview) -> int:
    blank = header[:_HEAD_CRC_AT] + bytes(4) + header[_HEAD_CRC_AT + 4 :]
    return zlib.crc32(rest, zlib.crc32(blank))


def header(data: bytes) -> Header | None:
    """Return the fixed fields, or None for bytes that do not begin a frame of this format."""
    if len(data) < HEADER_BYTES:
        return None
    magic, kind, version, _, rows, dims, text, sequence, durable, tokens, crc, head = (
        _HEADER.unpack_from(data)
    )
    if magic != MAGIC or version != FORMAT:
        return None
    if rows > MAX_ROWS or dims > MAX_DIMENSIONS or text > MAX_TEXT_BYTES:
        return None
    return Header(kind, rows, dims, text, sequence, durable, tokens, crc, head)


def head(data: bytes, fields: Header, at: int) -> Head | None:
    """Return the head in `data` (of `fields.head_bytes`), or None where a bit is wrong."""
    if len(data) < fields.head_bytes or fields.kind not in Kind.__members__.values():
        return None
    if _head_crc(data[:HEADER_BYTES], memoryview(data)[HEADER_BYTES : fields.head_bytes]) != (
        fields.head_crc
    ):
        return None
    keys_end = HEADER_BYTES + fields.rows * KEY_BYTES
    return Head(
        Kind(fields.kind),
        fields.rows,
        fields.dimensions,
        None if fields.tokens == UNKNOWN else fields.tokens,
        fields.sequence,
        fields.durable,
        fields.vectors_crc,
        np.frombuffer(data, "<u8", fields.rows * 2, HEADER_BYTES).reshape(-1, 2),
        bytes(data[keys_end : keys_end + fields.text_bytes]),
        at,
        at + fields.head_bytes,
        at + fields.frame_bytes,
    )
