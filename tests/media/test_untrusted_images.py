"""How images are decoded."""

import io

import numpy as np
import PIL.Image

from prefect_cvat.media.untrusted_images import open_image


class CountingFile(io.BytesIO):
    reads = 0

    def read(self, size=-1, /):
        self.reads += 1
        return super().read(size)


def test_an_image_of_ordinary_size_goes_to_the_decoder_at_once():
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    file = CountingFile()
    PIL.Image.fromarray(noise).save(file, "JPEG")
    assert 2**17 < len(file.getvalue()) < 2**20
    image = open_image(file, "a photo")
    file.reads = 0
    image.load()
    assert file.reads == 1
