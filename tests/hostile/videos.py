"""Hostile videos: not a video, broken, or inconsistent with the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from changing_proxy import Reply
from clips import SIZE, clip
from hostile.chunks import CHUNK
from hostile.hostile_input import HostileInput

Change = Callable[[bytes], bytes]


def _noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def _overwritten(name: bytes, offset: int, value: bytes) -> Change:
    """Overwrite bytes of a box of the mp4 file, counted from its name."""

    def change(video: bytes) -> bytes:
        start = video.index(name) + offset
        return video[:start] + value + video[start + len(value) :]

    return change


_CHANGES: dict[str, Change] = {
    "an empty video": lambda _: b"",
    "a video that is noise": lambda _: _noise(1, 5000),
    "a video cut in half": lambda video: video[: len(video) // 2],
    "a video without its last 100 bytes": lambda video: video[:-100],
    "a video without its index": lambda video: video[: video.index(b"moov") - 4],
    "a video whose pictures are noise": lambda video: (
        video[: (at := video.index(b"mdat") + 8)] + _noise(2, 900) + video[at + 900 :]
    ),
    "a video with flipped bytes in its index": _overwritten(b"stbl", 30, _noise(3, 40)),
    "a video of 60,000 x 60,000": _overwritten(b"avc1", 28, b"\xea\x60\xea\x60"),
    "a video of 2 ** 32 samples": _overwritten(b"stsz", 12, b"\xff\xff\xff\xff"),
    "a video with samples of 2 ** 31 bytes": _overwritten(b"stsz", 8, b"\x7f\xff\xff\xff"),
    "a video with a time base of 0": _overwritten(b"mdhd", 16, bytes(4)),
    "a video with a box of 2 ** 32 bytes": _overwritten(b"moov", -4, b"\xff\xff\xff\xff"),
    "a video of one frame": lambda _: clip(range(1)),
    "a video of 500 frames": lambda _: clip(i % 200 for i in range(500)),
    "a video of another size": lambda _: clip(range(2), size=(320, 240)),
    "a video of 16 x 16": lambda _: clip(range(2), size=(16, 16)),
    "a video on its side": lambda _: clip(range(2), size=SIZE, turned=True),
    "a playlist in place of a video": lambda _: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "a list of files in place of a video": lambda _: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a list of streams in place of a video": lambda _: (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
    ),
    "pictures in place of a video": lambda _: b"\x89PNG\r\n\x1a\n" + _noise(4, 500),
}


def _changed(change: Change) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, body=change(reply.body))


def hostile_videos() -> list[HostileInput]:
    """Each for all chunks of a task of a video."""
    return [
        HostileInput(name, "video", CHUNK, _changed(change), task="video")
        for name, change in _CHANGES.items()
    ]
