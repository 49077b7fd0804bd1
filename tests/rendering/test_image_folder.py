"""The folder beside a page with the images of its frames."""

import PIL.Image
import pytest

from prefect_cvat.exceptions import StorageError
from prefect_cvat.frames import Frame
from prefect_cvat.rendering.review_page import page_images
from prefect_cvat.rendering.review_page.content import PageFrame, PageRun
from prefect_cvat.rendering.review_page.image_folder import MARKER
from prefect_cvat.rendering.review_page.page_images import PageImages
from prefect_cvat.rendering.review_page.writer import render_review_page, write_review_page


@pytest.fixture
def page(tmp_path):
    return tmp_path / "review.html"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "review_images"


def make(page, colors, count=2000, size=(64, 48)):
    frames = ((Frame(i, f"{i}.jpg", *size), PIL.Image.new("RGB", size, c)) for i, c in enumerate(colors))
    return list(PageImages(count, page).make(frames))


def write(page, colors, count=2000):
    frames = [PageFrame(frame, image, (), 0) for frame, image in make(page, colors, count)]
    write_review_page(page, render_review_page([PageRun("a run", "key", frames)], title="a page"))
    return [frame.image.file for frame in frames]


def files_in(folder):
    return sorted(f"{folder.name}/{file.name}" for file in folder.glob("[!.]*"))


def test_images_of_more_than_200_frames_are_in_the_folder(page, folder):
    images = [image for _, image in make(page, ["red", "blue"], size=(1920, 1080))]
    assert [image.file for image in images] == files_in(folder)
    assert [image.file[:21] for image in images] == ["review_images/000000-", "review_images/000001-"]
    assert all(len(image.jpeg) <= page_images.MAX_BYTES / 2000 for image in images)
    with PIL.Image.open(page.parent / images[0].file) as large:
        assert large.size == (1920, 1080)


def test_images_of_an_earlier_page_are_removed_when_the_new_one_is_written(page, folder):
    first = write(page, ["red", "blue"])
    (folder / "notes.txt").write_text("of somebody")
    second = write(page, ["red", "green"])
    assert first[0] == second[0]
    assert files_in(folder) == [*second, "review_images/notes.txt"]
    (folder / "notes.txt").unlink()
    write(page, ["red"], count=1)
    assert list(page.parent.iterdir()) == [page]


@pytest.mark.parametrize("count", [1, 2000])
def test_earlier_page_keeps_its_images_where_the_new_one_fails(page, folder, count):
    earlier = {file: (page.parent / file).read_bytes() for file in write(page, ["red", "blue"])}
    make(page, ["green"], count)  # then something fails, and no page is written
    assert {file: (page.parent / file).read_bytes() for file in earlier} == earlier
    written = write(page, ["yellow"])
    assert files_in(folder) == written


def test_image_that_was_written_in_part_is_written_again(page):
    [file] = write(page, ["red"])
    whole = (page.parent / file).read_bytes()
    (page.parent / file).write_bytes(whole[:9])
    write(page, ["red"])
    assert (page.parent / file).read_bytes() == whole


def test_folder_of_somebody_else_is_refused(page, folder):
    folder.mkdir()
    (folder / "000001.jpg").write_bytes(b"a photograph")
    with pytest.raises(StorageError, match="review_images' is where the images of the page go, but no page"):
        make(page, ["red"])
    write(page, ["red"], count=1)
    assert (folder / "000001.jpg").read_bytes() == b"a photograph"


@pytest.mark.parametrize("name", ["review.htm", "review"])
def test_folder_of_another_page_is_refused_and_keeps_its_images(page, folder, name):
    images = write(page, ["red"])
    other = page.with_name(name)
    with pytest.raises(
        StorageError, match="it has the images of the page 'review.html': give this page another name, or"
    ):
        make(other, ["blue"])
    write(other, ["blue"], count=1)
    assert files_in(folder) == images


def test_folder_of_an_earlier_version_is_taken_over(page, folder):
    folder.mkdir()
    (folder / MARKER).touch()
    (folder / "000000-0123456789abcdef.jpg").write_bytes(b"an earlier page")
    assert files_in(folder) != write(page, ["red"]) == files_in(folder)
    with pytest.raises(StorageError, match="images of the page 'review.html'"):
        make(page.with_name("review.htm"), ["red"])


@pytest.mark.parametrize("is_there", [True, False])
def test_link_is_refused(page, folder, tmp_path, is_there):
    target = tmp_path / "large disk"
    folder.symlink_to("large disk")
    if is_there:
        target.mkdir()
        (target / MARKER).touch()
        (target / "000000-0123456789abcdef.jpg").write_bytes(b"of another page")
    with pytest.raises(
        StorageError, match="a link to 'large disk': remove the link, or write the page where there is room"
    ):
        make(page, ["red"])
    write(page, ["red"], count=1)
    assert folder.is_symlink()
    assert len(list(target.glob("*.jpg"))) == target.exists() == is_there


def test_file_in_the_place_of_the_folder_is_refused(page, folder):
    folder.write_text("of somebody")
    with pytest.raises(StorageError, match="it is not a folder: move it, or give the page another name"):
        make(page, ["red"])
    write(page, ["red"], count=1)
    assert folder.read_text() == "of somebody"


def test_name_that_is_too_long_for_the_folder_is_refused(tmp_path):
    page = tmp_path / f"{'p' * 249}.html"
    with pytest.raises(StorageError, match="too long, 256 bytes: give the page a shorter name"):
        make(page, ["red"])
    write(page, ["red"], count=1)
    assert page.exists()
