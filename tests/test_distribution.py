"""What is uploaded to the package index: it is complete, and its links work there."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://git.example.com/vision/prefect-cvat"
LINK = re.compile(r"!?\[[^\]]+\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def distributions(source, tmp_path_factory):
    """The folder of the source distribution, and of the wheel that is built from it."""
    copy, folder = tmp_path_factory.mktemp("copy") / "source", tmp_path_factory.mktemp("dist")
    shutil.copytree(source, copy)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)],
        env={**os.environ, "PREFECT_CVAT_REPOSITORY": f"{REPOSITORY}/"},
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def metadata(distributions):
    [wheel] = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def test_twine_finds_nothing_wrong(distributions):
    files = [str(path) for path in distributions.iterdir()]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("PASSED") == 2


def test_links_of_the_page_lead_to_files_of_the_version(metadata):
    tree = re.compile(rf"{REPOSITORY}/(?:blob|raw)/v{re.escape(metadata['Version'])}/(.+)")
    links = LINK.findall(metadata.get_payload())
    assert all(link.startswith(("https://", "#")) for link in links)
    files = {found[1].partition("#")[0] for link in links if (found := tree.fullmatch(link))}
    assert {"docs/operations.md", "docs/images/demo.png", "CHANGELOG.md"} <= files
    assert all((ROOT / name).is_file() for name in files)


def test_pictures_are_linked_as_files(metadata):
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", metadata.get_payload())
    assert pictures
    assert all("/raw/" in picture for picture in pictures)


def test_project_has_its_addresses(metadata):
    urls = dict(entry.split(", ", 1) for entry in metadata.get_all("Project-URL"))
    assert urls["Repository"] == REPOSITORY
    assert set(urls) == {"Repository", "Documentation", "Changelog", "Issues"}


def test_source_distribution_has_what_the_wheel_has(distributions):
    [wheel], [source] = distributions.glob("*.whl"), distributions.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        modules = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {"prefect_cvat/flows/annotate_task.py", "prefect_cvat/deployments/prefect.yaml"} < modules
    with tarfile.open(source) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "functions/nanodet_coco/NOTICE"} < files
    assert {Path(name).name for name in modules} <= {Path(name).name for name in files}


def test_without_an_address_the_page_is_the_readme(wheels):
    [wheel] = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    assert metadata.get_all("Project-URL") is None
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
