"""Hostile chunks: zip files and images that are broken, endless, or have false headers."""

from __future__ import annotations

import gzip
import io
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import PIL.Image

from changing_proxy import HTML, Reply
from hostile.hostile_input import HostileInput

CHUNK = r"GET /api/(tasks|jobs)/\d+/data\?.*type=chunk"
SIZE = (64, 48)

Change = Callable[[bytes], bytes]


def _image(
    image_format: str = "PNG", size: tuple[int, int] = SIZE, mode: str = "RGB", **options: object
) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new(mode, size).save(buffer, image_format, **options)
    return buffer.getvalue()


def _zip(
    members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


def _members(chunk: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(chunk)) as archive:
        return [(member.filename, archive.read(member)) for member in archive.infolist()]


def _each(change: Change) -> Change:
    """Change each image of a chunk."""
    return lambda chunk: _zip([(name, change(data)) for name, data in _members(chunk)])


def _instead(data: bytes | Callable[[], bytes]) -> Change:
    return lambda _: data() if callable(data) else data


def _packed(compression: int, damage: int) -> Change:
    """Compress the images, and flip bytes in the middle of the first."""

    def change(chunk: bytes) -> bytes:
        members = _members(chunk)
        data = bytearray(_zip(members, compression))
        start = 30 + len(members[0][0]) + damage
        for position in range(start, start + 24):
            data[position] ^= 0x5A
        return bytes(data)

    return change


def _field(offset: int, value: bytes, signature: bytes = b"PK\x01\x02") -> Change:
    """Overwrite a field of the first record of a zip file with this signature."""

    def change(chunk: bytes) -> bytes:
        start = chunk.index(signature) + offset
        return chunk[:start] + value + chunk[start + len(value) :]

    return change


@cache
def _png_of(width: int, height: int, pixel_bytes: int = 0) -> bytes:
    """A PNG with this size in its header, and a number of compressed zero bytes as pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (part(b"IHDR", header), part(b"IDAT", zlib.compress(bytes(pixel_bytes), 9)), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def _png_with_text(size: int) -> bytes:
    """A PNG of the right size with a compressed text that unpacks to a number of bytes."""
    image = _image()
    text = b"comment\0\0" + zlib.compress(bytes(size), 9)
    part = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    return image[:33] + part + image[33:]


def _endless(headers: str, pieces: Callable[[], Iterator[bytes]]) -> Callable[[Reply], Reply]:
    def raw() -> Iterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode()
        yield from pieces()

    return lambda reply: replace(reply, raw=raw)


def _zeros(size: int | None) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        sent = 0
        while size is None or sent < size:
            yield bytes(2**20)
            sent += 2**20

    return pieces


def _drops() -> Iterator[bytes]:
    for _ in range(600):
        yield b"P"
        time.sleep(0.5)


def _http_chunked() -> Iterator[bytes]:
    while True:
        yield b"100000\r\n" + bytes(2**20) + b"\r\n"


def _postscript(_: bytes) -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\nshowpage\n%%EOF\n"


def _noise(seed: int, size: int = 4000) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


_CHANGES: dict[str, Change] = {
    "an empty chunk": _instead(b""),
    "a chunk of one byte": _instead(b"P"),
    "a zip file without members": _instead(_zip([])),
    "a zip file cut in half": lambda chunk: chunk[: len(chunk) // 2],
    "a zip file without its last byte": lambda chunk: chunk[:-1],
    "a zip file without its directory": lambda chunk: chunk[: chunk.index(b"PK\x01\x02")],
    "a zip file without its first local header": lambda chunk: bytes(30) + chunk[30:],
    "a zip file after 1 MB of other bytes": lambda chunk: bytes(2**20) + chunk,
    "a zip file with a long comment": lambda chunk: _zip(_members(chunk), comment=bytes(60_000)),
    "one image too few": lambda chunk: _zip(_members(chunk)[:-1]),
    "an image too many": lambda chunk: _zip([*_members(chunk), ("extra.png", _image())]),
    "50,000 members": lambda chunk: _zip([(f"{i}.png", b"") for i in range(50_000)]),
    "members that are folders": _instead(_zip([("a/", b""), ("b/", b"")])),
    "members with the same name": lambda chunk: _zip([("0.png", data) for _, data in _members(chunk)]),
    "members with names out of the folder": lambda chunk: _zip(
        [(f"../../../{i}.png", data) for i, (_, data) in enumerate(_members(chunk))]
    ),
    "members with control characters in their names": lambda chunk: _zip(
        [(f"\x1b[2J{i}\n.png", data) for i, (_, data) in enumerate(_members(chunk))]
    ),
    "a deflated member that is damaged": _packed(zipfile.ZIP_DEFLATED, 4),
    "a member of bzip2 that is damaged": _packed(zipfile.ZIP_BZIP2, 12),
    "a member of LZMA that is damaged": _packed(zipfile.ZIP_LZMA, 12),
    "a member of LZMA with broken properties": _packed(zipfile.ZIP_LZMA, 0),
    "a member compressed in an unknown way": _field(10, struct.pack("<H", 77)),
    "an encrypted member": _field(8, struct.pack("<H", 1)),
    "a member with a wrong checksum": _field(16, b"\x00\x01\x02\x03"),
    "a member with 4 GB in its directory": _field(24, struct.pack("<I", 2**32 - 2)),
    "a member that begins past the end": _field(42, struct.pack("<I", 2**31)),
    "a directory past the end": _field(16, struct.pack("<I", 2**31), b"PK\x05\x06"),
    "a count of 65,535 members": _field(8, struct.pack("<HH", 65535, 65535), b"PK\x05\x06"),
    "a member that unpacks to 2 GB": lambda chunk: _bomb(len(_members(chunk)), 2**31),
    "a member that unpacks to 200 MB": lambda chunk: _bomb(len(_members(chunk)), 200 * 2**20),
    "images without bytes": _each(_instead(b"")),
    "images of noise": _each(lambda _: _noise(1)),
    "images cut in half": _each(lambda data: data[: len(data) // 2]),
    "images with flipped bytes": _each(lambda data: data[:200] + _noise(2, 200) + data[400:]),
    "images of another size": _each(_instead(_image(size=(65, 48)))),
    "images of 1 x 1": _each(_instead(_image(size=(1, 1)))),
    "PNG of 60,000 x 60,000": _each(_instead(_png_of(60_000, 60_000))),
    "PNG of 0 x 0": _each(_instead(_png_of(0, 0))),
    "PNG without pixels": _each(_instead(_png_of(*SIZE))),
    "PNG with 300 MB of pixels in 64 x 48": _each(_instead(lambda: _png_of(*SIZE, 300 * 2**20))),
    "PNG with a text of 300 MB": _each(_instead(lambda: _png_with_text(300 * 2**20))),
    "PostScript": _each(_postscript),
    "PDF": _each(_instead(b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF")),
    "SVG": _each(_instead(b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='48'/>")),
    "Windows metafile": _each(_instead(b"\xd7\xcd\xc6\x9a" + bytes(64))),
    "ICO": _each(_instead(_image("ICO", (16, 16)))),
    "GIF of 1,000 frames": _each(
        _instead(
            _image(
                "GIF",
                mode="P",
                save_all=True,
                append_images=[PIL.Image.new("P", SIZE, i % 250) for i in range(1000)],
            )
        )
    ),
    "TIFF with a broken directory": _each(lambda _: _image("TIFF")[:-40] + _noise(3, 40)),
    "JPEG that ends in its header": _each(lambda _: _image("JPEG")[:200]),
    "JPEG of another size inside its EXIF": _each(
        lambda _: _image("JPEG", exif=b"Exif\0\0" + _noise(4, 500))
    ),
    "images of 16 bits": _each(lambda _: _image("PNG", mode="I;16")),
    "images in CMYK": _each(lambda _: _image("JPEG", mode="CMYK")),
    "images with one bit": _each(lambda _: _image("PNG", mode="1")),
    "an mp4 in place of a zip file": _instead(b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + _noise(5)),
    "noise": _instead(_noise(6)),
}


@cache
def _bomb(images: int, size: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in range(images):
            with archive.open(f"{name}.png", "w", force_zip64=True) as member:
                for _ in range(size // 2**22):
                    member.write(bytes(2**22))
    return buffer.getvalue()


def _changed(change: Change) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, body=change(reply.body))


def _gzipped(reply: Reply) -> Reply:
    return replace(reply, body=_gzip_bomb()).with_header("Content-Encoding", "gzip, gzip")


@cache
def _gzip_bomb() -> bytes:
    return gzip.compress(gzip.compress(bytes(600 * 2**20)))


_ANSWERS: dict[str, Callable[[Reply], Reply]] = {
    "a chunk that is a page of HTML": lambda _: Reply(200, (("Content-Type", HTML),), b"<html>log in</html>"),
    "a chunk that is JSON": lambda _: Reply(200, body=b'{"detail": "no"}'),
    "a chunk answered with 204": lambda _: Reply(204, ()),
    "a chunk answered with 206": lambda reply: replace(reply, status=206, body=reply.body[:100]),
    "a chunk answered with 404": lambda _: Reply(404, body=b'{"detail": "Not found."}'),
    "a chunk that is a gzip bomb": _gzipped,
    "a chunk in an encoding that nobody knows": lambda reply: reply.with_header("Content-Encoding", "x-none"),
    "a chunk that says gzip and is not": lambda reply: reply.with_header("Content-Encoding", "gzip"),
    "a chunk without end, with a length": _endless(
        "Content-Type: application/zip\r\nContent-Length: 99999999999", _zeros(None)
    ),
    "a chunk without end, without a length": _endless("Content-Type: application/zip", _zeros(None)),
    "a chunk without end, in pieces": _endless("Transfer-Encoding: chunked", _http_chunked),
    "a chunk of two bytes a second": _endless("Content-Length: 1000000", _drops),
    "a chunk of 500 MB of zeros": _endless(f"Content-Length: {500 * 2**20}", _zeros(500 * 2**20)),
}


def hostile_chunks() -> list[HostileInput]:
    """Each for all chunks of the task, some only for the second."""
    return [
        *(HostileInput(name, "chunk", CHUNK, _changed(change)) for name, change in _CHANGES.items()),
        *(HostileInput(name, "chunk", CHUNK, attack) for name, attack in _ANSWERS.items()),
    ]
