"""The official cvat-sdk with the sandbox."""

import concurrent.futures
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cvat_sdk import Client, make_client, models
from cvat_sdk import auto_annotation as cvataa
from cvat_sdk.api_client.exceptions import ForbiddenException, UnauthorizedException
from cvat_sdk.core.client import AccessTokenCredentials
from cvat_sdk.core.exceptions import BackgroundRequestException
from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction
from cvat_sdk.core.proxies.tasks import Task
from cvat_sdk.core.uploading import DataUploader
from cvat_sdk.datasets import TaskDataset
from PIL import Image

from clips import clip, number_on
from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_connection import connect

FIGURE = {
    "name": "figure",
    "type": "skeleton",
    "sublabels": [{"name": "head", "type": "points"}, {"name": "foot", "type": "points"}],
    "svg": '<circle data-type="element node" data-node-id="1" data-label-name="head"></circle>',
}
CAR = {
    "name": "car",
    "type": "rectangle",
    "attributes": [
        {"name": "kind", "mutable": False, "input_type": "select", "values": ["van", "truck"]},
        {"name": "parked", "mutable": True, "input_type": "checkbox", "values": ["false"]},
    ],
}


class Detector:
    """Finds one car on each image, as large as the image, and a figure on it."""

    spec = cvataa.DetectionFunctionSpec(
        labels=[
            cvataa.label_spec(
                "car", 0, attributes=[cvataa.select_attribute_spec("kind", 0, ["van", "truck"])]
            ),
            cvataa.skeleton_label_spec(
                "figure", 1, [cvataa.keypoint_spec("head", 0), cvataa.keypoint_spec("foot", 1)]
            ),
        ]
    )

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        attributes = [models.AttributeValRequest(spec_id=0, value="truck")]
        return [
            cvataa.rectangle(0, [0, 0, image.width, image.height], attributes=attributes),
            cvataa.skeleton(1, [cvataa.keypoint(0, [1, 2]), cvataa.keypoint(1, [3, 4], occluded=True)]),
        ]


def test_annotate_task_of_sdk_stores_detections(
    client: Client, make_task: Callable[..., Task], pictures: list[Path]
) -> None:
    task = make_task([CAR, FIGURE], segment_size=5)

    cvataa.annotate_task(client, task.id, Detector())

    shapes = task.get_annotations().shapes
    cars = {shape.frame: shape for shape in shapes if shape.type.value == "rectangle"}
    assert {frame: car.points for frame, car in cars.items()} == {
        index: [0, 0, 100 + index, 80 + index] for index in range(len(pictures))
    }
    names = {spec.id: spec.name for label in task.get_labels() for spec in label.attributes}
    assert {names[value.spec_id]: value.value for value in cars[3].attributes} == {
        "kind": "truck",
        "parked": "false",
    }
    figures = [shape for shape in shapes if shape.type.value == "skeleton"]
    assert len(figures) == len(pictures)
    head, foot = sorted(figures[0].elements, key=lambda element: element.points)
    assert (head.points, head.occluded, foot.points, foot.occluded) == ([1, 2], False, [3, 4], True)
    assert {shape.source for shape in shapes} == {"auto"}


def test_clear_existing_replaces_annotations(client: Client, make_task: Callable[..., Task]) -> None:
    task = make_task([CAR, FIGURE])
    cvataa.annotate_task(client, task.id, Detector())
    cvataa.annotate_task(client, task.id, Detector())
    assert len(task.get_annotations().shapes) == 48
    cvataa.annotate_task(client, task.id, Detector(), clear_existing=True)
    assert len(task.get_annotations().shapes) == 24


def test_task_merges_copies_of_overlapping_jobs(make_task: Callable[..., Task]) -> None:
    task = make_task(segment_size=6, overlap=2)
    jobs = sorted(task.get_jobs(), key=lambda job: job.start_frame)
    assert [(job.start_frame, job.stop_frame) for job in jobs] == [(0, 5), (4, 9), (8, 11)]
    label_id = task.get_labels()[0].id

    task.set_annotations(
        models.LabeledDataRequest(
            shapes=[
                models.LabeledShapeRequest(
                    type="rectangle", frame=frame, label_id=label_id, points=[1, 2, 30, 40], score=0.5
                )
                for frame in range(12)
            ]
        )
    )

    assert [shape.frame for shape in task.get_annotations().shapes] == list(range(12))
    assert [[shape.frame for shape in job.get_annotations().shapes] for job in jobs] == [
        [0, 1, 2, 3, 4, 5],
        [4, 5, 6, 7, 8, 9],
        [8, 9, 10, 11],
    ]
    assert {shape.score for shape in task.get_annotations().shapes} == {0.5}


def test_sdk_skips_deleted_frames_until_restored(client: Client, make_task: Callable[..., Task]) -> None:
    task = make_task([CAR, FIGURE], chunk_size=5)
    task.remove_frames_by_ids([2, 7])
    assert task.get_meta().deleted_frames == [2, 7]
    cvataa.annotate_task(client, task.id, Detector())
    assert {shape.frame for shape in task.get_annotations().shapes} == set(range(12)) - {2, 7}
    task.remove_frames_by_ids([])
    assert task.get_meta().deleted_frames == []


def test_chunks_contain_uploaded_files(make_task: Callable[..., Task], pictures: list[Path]) -> None:
    task = make_task(chunk_size=5)
    names, contents = [], []
    for number in range(3):
        buffer = io.BytesIO()
        task.download_chunk(number, buffer, quality="original")
        with zipfile.ZipFile(buffer) as archive:
            names.append(archive.namelist())
            contents += [archive.read(name) for name in archive.namelist()]
    assert names[2] == ["000000.jpg", "000001.png"]
    assert contents == [path.read_bytes() for path in pictures]


def test_dataset_of_sdk_reads_task(client: Client, make_task: Callable[..., Task], tmp_path: Path) -> None:
    client.config.cache_dir = tmp_path
    task = make_task([CAR, FIGURE])
    cvataa.annotate_task(client, task.id, Detector())
    samples = TaskDataset(client, task.id).samples
    assert [sample.media.load_image().width for sample in samples] == [100 + index for index in range(12)]
    assert all(len(sample.annotations.shapes) == 2 for sample in samples)


def test_uploads_large_file_in_parts(
    make_task: Callable[..., Task], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_sdk.core.uploading.TUS_CHUNK_SIZE", 100)
    monkeypatch.setattr(DataUploader.__init__, "__kwdefaults__", {"max_request_size": 500})
    task = make_task()
    assert task.size == 12
    assert task.get_frame(1, quality="original").read() == pictures[1].read_bytes()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"start_frame": 2, "stop_frame": 9, "frame_step": 3}, ["im_02.jpg", "im_05.png", "im_08.jpg"]),
        ({"sorting_method": "predefined", "start_frame": 10}, ["im_01.png", "im_00.jpg"]),
        ({"start_frame": 11}, ["im_11.png"]),
    ],
)
def test_selects_and_orders_frames_as_requested(
    make_task: Callable[..., Task], pictures: list[Path], parameters: dict[str, object], expected: list[str]
) -> None:
    files = pictures[::-1] if "sorting_method" in parameters else pictures
    task = make_task(files=files, **parameters)
    assert [frame.name for frame in task.get_meta().frames] == expected


def test_natural_sorting_compares_numbers(make_task: Callable[..., Task], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in (10, 9, 1)]
    for file in files:
        Image.new("RGB", (4, 4)).save(file)
    natural = make_task(files=files, sorting_method="natural").get_meta().frames
    lexicographical = make_task(files=files).get_meta().frames
    assert [frame.name for frame in natural] == ["1.png", "9.png", "10.png"]
    assert [frame.name for frame in lexicographical] == ["1.png", "10.png", "9.png"]


def test_broken_image_fails_the_background_request(
    client: Client, make_task: Callable[..., Task], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(BackgroundRequestException, match=r"Cannot read the image 'broken\.png'"):
        make_task(files=[broken])
    newest = client.tasks.list()[0]
    assert newest.data is None
    assert newest.jobs.count == 0


def test_tasks_have_labels_of_their_project(client: Client, pictures: list[Path]) -> None:
    project = client.projects.create(models.ProjectWriteRequest(name="p", labels=[{"name": "tree"}]))
    task = client.tasks.create_from_data(
        models.TaskWriteRequest(name="in it", project_id=project.id), pictures[:2]
    )
    assert [label.name for label in task.get_labels()] == ["tree"]
    assert [label.id for label in project.get_labels()] == [label.id for label in task.get_labels()]
    assert [found.id for found in project.get_tasks()] == [task.id]
    project.remove()
    assert task.id not in [found.id for found in client.tasks.list()]


def test_access_token_works_until_revoked(server: Sandbox, client: Client) -> None:
    api = client.api_client.auth_api
    token, _ = api.create_access_tokens(
        access_token_write_request=models.AccessTokenWriteRequest(name="t", read_only=True)
    )
    with make_client(server.url) as other:
        other.login(AccessTokenCredentials(token.value))
        assert other.users.retrieve_current_user().username == server.user
        with pytest.raises(ForbiddenException):
            other.tasks.create(models.TaskWriteRequest(name="not allowed", labels=[]))
        api.destroy_access_tokens(token.id)
        with pytest.raises(UnauthorizedException):
            other.users.retrieve_current_user()


def test_parallel_writes_of_two_clients_lose_nothing(server: Sandbox, make_task: Callable[..., Task]) -> None:
    task = make_task(segment_size=3)
    label_id = task.get_labels()[0].id

    def add(corner: int) -> None:
        with connect(server) as own:
            own_task = own.tasks.retrieve(task.id)
            for frame in range(12):
                own_task.update_annotations(
                    models.PatchedLabeledDataRequest(
                        shapes=[
                            models.LabeledShapeRequest(
                                type="rectangle",
                                frame=frame,
                                label_id=label_id,
                                points=[corner, corner, corner + 5.0, corner + 5.0],
                            )
                        ]
                    ),
                    action=AnnotationUpdateAction.CREATE,
                )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    shapes = task.get_annotations().shapes
    assert sorted((shape.frame, shape.points[0]) for shape in shapes) == sorted(
        (frame, corner) for frame in range(12) for corner in range(4)
    )
    assert len({shape.id for shape in shapes}) == 48


def test_parallel_replacements_leave_exactly_one(server: Sandbox, make_task: Callable[..., Task]) -> None:
    task = make_task(segment_size=3)
    label_id = task.get_labels()[0].id

    def replace(corner: int) -> None:
        with connect(server) as own:
            own.tasks.retrieve(task.id).set_annotations(
                models.LabeledDataRequest(
                    shapes=[
                        models.LabeledShapeRequest(
                            type="rectangle", frame=frame, label_id=label_id, points=[corner, 0.0, 9.0, 9.0]
                        )
                        for frame in range(12)
                    ]
                )
            )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, range(4)))
    shapes = task.get_annotations().shapes
    assert len(shapes) == 12
    assert len({shape.points[0] for shape in shapes}) == 1


def test_video_task_has_video_chunks_and_single_frames(
    make_task: Callable[..., Task], tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    file = tmp_path / "clip.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            picture = Image.new("RGB", (64, 48), (index * 8, index * 8, index * 8))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())

    task = make_task(files=[file], start_frame=2, frame_step=3, chunk_size=4)

    assert (task.size, task.mode, task.data_original_chunk_type) == (10, "interpolation", "video")
    for frame in (0, 5, 9):
        with Image.open(task.get_frame(frame)) as image:
            assert image.format == "PNG"
            assert image.convert("L").getpixel((20, 20)) == pytest.approx((2 + frame * 3) * 8, abs=4)
    buffer = io.BytesIO()
    task.download_chunk(2, buffer, quality="original")
    buffer.seek(0)
    with av.open(buffer) as container:
        shown = [frame.to_image().convert("L").getpixel((20, 20)) for frame in container.decode(video=0)]
    assert shown == pytest.approx([(2 + frame * 3) * 8 for frame in (8, 9)], abs=4)


def test_invalid_video_fails_the_background_request(make_task: Callable[..., Task], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(BackgroundRequestException, match=r"broken\.mp4|PyAV"):
        make_task(files=[broken])


@pytest.mark.parametrize("quality", ["original", "compressed"])
def test_chunks_of_rotated_video_are_upright(
    make_task: Callable[..., Task], tmp_path: Path, quality: str
) -> None:
    av = pytest.importorskip("av")
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip(range(5), turned=True))
    task = make_task(files=[file])
    [frame] = task.get_frames_info()
    assert (frame.width, frame.height) == (160, 64)
    with Image.open(task.get_frame(3)) as image:
        assert (image.size, number_on(image)) == ((160, 64), 3)
    buffer = io.BytesIO()
    task.download_chunk(0, buffer, quality=quality)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        assert [number_on(frame.to_image()) for frame in container.decode(video=0)] == [0, 1, 2, 3, 4]


def test_only_compressed_chunks_of_large_video_are_scaled_down(
    make_task: Callable[..., Task], tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    file = tmp_path / "clip.mp4"
    file.write_bytes(clip(range(1), size=(301, 1081)))
    task = make_task(files=[file])
    sizes = []
    for quality in ("original", "compressed"):
        buffer = io.BytesIO()
        task.download_chunk(0, buffer, quality=quality)
        with av.open(io.BytesIO(buffer.getvalue())) as container:
            sizes.append((container.streams.video[0].width, container.streams.video[0].height))
    assert sizes == [(302, 1082), (150, 540)]
