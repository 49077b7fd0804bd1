"""Video chunks, decoded with PyAV (the extra `video`, imported only where there is a video).

CVAT 2.73 encodes the frames of a chunk as an mp4, after it has applied steps, `start_frame` and rotation.
So its pictures, in the order of their times, are the frames of the chunk, upright. Pictures are identified
by their times, and not by their position in the decoder's output: a picture that cannot be decoded does not
shift the following ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.media.mp4_index import check_mp4_index
from prefect_cvat.media.untrusted_images import check_memory, usable_cores
from prefect_cvat.messages.plurals import pluralize

if TYPE_CHECKING:
    from prefect_cvat.frames import ChunkFile, Frame

__all__ = ["BYTES_PER_PIXEL", "TURNS", "VideoChunk", "import_pyav"]

MAX_DECODER_THREADS = 8
"""Each holds a picture: eight of the largest that CVAT writes (9.4 million pixels) take 113 MB."""

BYTES_PER_PIXEL = 16
"""Memory of a frame: the reference pictures of the decoder, the converted picture, and the image."""

BLOCK = 64
"""Encoders pad width and height to a multiple of this number of pixels."""

TURNS = {
    90: PIL.Image.Transpose.ROTATE_90,
    180: PIL.Image.Transpose.ROTATE_180,
    270: PIL.Image.Transpose.ROTATE_270,
}
"""How to turn a picture upright, by its rotation in degrees."""


def import_pyav() -> ModuleType:
    """Import PyAV.

    Raises:
        ImportError: It is not installed, or its libraries are not.
    """
    import av

    module: ModuleType = av
    return module


class VideoChunk:
    """A video chunk, opened. It may be used from one thread at a time.

    Args:
        chunk: The file.

    Raises:
        MediaError: It is not a video, PyAV cannot decode it, or its number of frames is wrong.
    """

    def __init__(self, chunk: ChunkFile) -> None:
        av = import_pyav()
        self._chunk = chunk
        with self._named():
            check_mp4_index(chunk.path)
            # other formats, such as playlists, could make FFmpeg open other files and addresses
            self._container: Any = av.open(str(chunk.path), format="mp4")
            try:
                self._stream = self._video_stream()
                self._times, self._keyframes = self._index()
                self._pictures: Iterator[Any] = iter(())
                self._at: int | None = None
            except BaseException:
                self._container.close()
                raise

    def images(self, frames: Sequence[Frame]) -> Iterator[tuple[Frame, PIL.Image.Image]]:
        """Decode frames, one after the other.

        Decoding begins at the keyframe before the first frame, or where the previous call ended. Only the
        wanted frames are converted to images.

        Args:
            frames: Frames of this chunk in ascending order.

        Raises:
            MediaError: A frame cannot be decoded, or has another size than the task's meta says.
        """
        if not frames:
            return
        times = [self._times[frame.number - self._chunk.first_frame] for frame in frames]
        with self._named():
            self._check_size(self._stream.width, self._stream.height, frames[0], is_upright=False)
            self._bound_pixels(frames)
            if not self._reaches(times[0]):
                self._seek(times[0])
                self._pictures = self._container.decode(self._stream)
            for frame, time in zip(frames, times, strict=True):
                self._at = None
                picture = self._next_picture(time)
                if picture is None or picture.pts != time or picture.is_corrupt:
                    raise MediaError(f"{frame} in {self._chunk} is broken: it cannot be decoded")
                self._at = time
                yield frame, self._image(picture, frame)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _video_stream(self) -> Any:
        if not self._container.streams.video:
            raise MediaError(f"{self._chunk} holds no video")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise MediaError(f"{self._chunk} is encoded in a way that the installed PyAV cannot decode")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(usable_cores(), MAX_DECODER_THREADS)
        return stream

    def _bound_pixels(self, frames: Sequence[Frame]) -> None:
        """Have the decoder refuse larger pictures: the size can change within a stream."""
        largest = max((frame.width + BLOCK) * (frame.height + BLOCK) for frame in frames)
        self._stream.codec_context.options = {"max_pixels": str(largest)}

    def _index(self) -> tuple[list[int], list[tuple[int, int]]]:
        """The presentation time of each picture, and presentation and decoding time of each keyframe.

        Nothing is decoded. Times are in the time base of the stream.
        """
        chunk = self._chunk
        times: list[int] = []
        keyframes: list[tuple[int, int]] = []
        for packet in self._container.demux(self._stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None or packet.is_corrupt:
                raise MediaError(f"{chunk} is broken or was cut short after {pluralize(len(times), 'frame')}")
            times.append(packet.pts)
            if packet.is_keyframe:
                keyframes.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if len(times) != chunk.length:
            raise MediaError(
                f"{chunk} holds {pluralize(len(times), 'frame')} where {chunk.length} were expected"
            )
        return sorted(times), sorted(keyframes)

    def _next_picture(self, time: int) -> Any:
        """The first picture from this time on; None if there is none."""
        return next((each for each in self._pictures if each.pts is not None and each.pts >= time), None)

    def _reaches(self, time: int) -> bool:
        """Whether the decoder reaches this picture without passing a keyframe."""
        at = self._at
        return at is not None and at < time and not any(at < shown <= time for shown, _ in self._keyframes)

    def _seek(self, time: int) -> None:
        """Go to a keyframe from which the picture of this time can be reached."""
        before = [decoded for shown, decoded in self._keyframes if shown <= time]
        # seeking by decoding time never ends after the keyframe, even if pictures are reordered
        self._container.seek(before[-1] if before else self._times[0], stream=self._stream)

    def _image(self, picture: Any, frame: Frame) -> PIL.Image.Image:
        turn = picture.rotation % 360
        is_turned = turn in (90, 270)
        width, height = (picture.height, picture.width) if is_turned else (picture.width, picture.height)
        self._check_size(width, height, frame)
        width, height = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
        rgb = picture.reformat(width=width, height=height, format="rgb24")
        # less than half of the CPU time that PyAV's to_image() takes, see benchmarks/README.md
        plane = rgb.planes[0]
        image = PIL.Image.frombytes(
            "RGB", (width, height), memoryview(plane), "raw", "RGB", plane.line_size, 1
        )
        return image.transpose(TURNS[turn]) if turn in TURNS else image

    def _check_size(self, width: int, height: int, frame: Frame, *, is_upright: bool = True) -> None:
        check_memory(
            f"{frame} in {self._chunk}",
            (width, height),
            BYTES_PER_PIXEL * width * height,
            max_bytes=self._chunk.max_image_bytes,
        )
        # CVAT 2.73: the encoder needs even sides; a frame with an odd one is stretched by a pixel
        expected = (frame.width + frame.width % 2, frame.height + frame.height % 2)
        if (width, height) in (expected, (frame.width, frame.height)):
            return
        if not is_upright and (height, width) == expected:
            return
        raise MediaError(
            f"{frame} in {self._chunk} is {width}x{height} pixels,"
            f" but the task says {frame.width}x{frame.height}"
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Raise errors of PyAV as `MediaError` with the name of the chunk."""
        try:
            yield
        except MediaError:
            raise
        except Exception as error:  # the type of the error depends on the fault
            reason = getattr(error, "strerror", None) or error
            raise MediaError(f"{self._chunk} is not a video that can be decoded: {reason}") from error
