"""Small videos that show the number of each frame, and a function that reads it."""

import io
import struct
from types import SimpleNamespace

import PIL.Image
import PIL.ImageDraw

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

SIZE = (160, 64)
BITS = 8
SQUARE = 20
"""The side in pixels of the squares at the top that show the bits of the number, white or black."""


def numbered_picture(number, size=SIZE):
    image = PIL.Image.new("RGB", size, (90, 90, 120))
    draw = PIL.ImageDraw.Draw(image)
    for bit in range(BITS):
        colour = (235, 235, 235) if number >> bit & 1 else (20, 20, 20)
        draw.rectangle([bit * SQUARE, 0, bit * SQUARE + SQUARE - 1, SQUARE - 1], fill=colour)
    return image


def number_on(image):
    """The number on a picture; an error if a square is neither white nor black."""
    grey = image.convert("L")
    number = 0
    for bit in range(BITS):
        shade = grey.getpixel((min(bit * SQUARE + SQUARE // 2, image.width - 3), SQUARE // 2))
        assert shade < 60 or shade > 195, f"bit {bit} is {shade}"
        number |= (shade > 195) << bit
    return number


def clip(numbers, *, size=SIZE, times=None, turned=False, **options):
    """An mp4 of numbered pictures.

    `times` are the moments at which they are shown, in hundredths of a second; `turned` stores them lying
    on their side, with metadata that say so.
    """
    from fractions import Fraction

    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = size[::-1] if turned else size
        stream.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        stream.options = {"crf": "12", **{name: str(value) for name, value in options.items()}}
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        for index, number in enumerate(numbers):
            picture = numbered_picture(number, size)
            if turned:
                picture = picture.transpose(PIL.Image.Transpose.ROTATE_90)
            frame = av.VideoFrame.from_image(picture)
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = buffer.getvalue()
    return _with_quarter_turn(data, size[1]) if turned else data


def _with_quarter_turn(data, width):
    """Write into the track's header that the picture must be turned clockwise."""
    at = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, width << 16, 0, 1 << 30)
    return data[:at] + matrix + data[at + len(matrix) :]


SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7)])


def reader(**attributes):
    """A function that finds a car as wide as the number that it reads, plus one."""

    def detect(context, image):
        return [rectangle(7, [0, 0, 1 + number_on(image), 5])]

    return SimpleNamespace(spec=SPEC, detect=detect, **attributes)


def numbers_found(client, task_id):
    """What `reader` has read on each frame of a task, by relative frame."""
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    return {shape["frame"]: round(shape["points"][2]) - 1 for shape in shapes}
