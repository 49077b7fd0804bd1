"""How much memory grows with a task, each measured in a process of its own: some bytes a frame or annotation."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.human_work import _part
from prefect_cvat.keyframes import interpolate
from prefect_cvat.number_set import AnnotationIds, NumberSet
from prefect_cvat.report import MOST_FAILED
from prefect_cvat.stored_index import IdentityIndex, StoredIndex, StoredMap, StoredRecords

MEASURE = """
import re, tempfile
from pathlib import Path
from types import SimpleNamespace

def peak_mib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def rectangle(number, frame, source="auto"):
    return {"id": number, "type": "rectangle", "frame": frame, "label_id": 1, "source": source,
            "points": [number % 640, 1, number % 640 + 9, 9 + number // 640]}
"""

JOB_ACCOUNT = """
from prefect_cvat.existing import Existing
from prefect_cvat.models import Job
from prefect_cvat.upload import JobWriter
N = 200_000
def standing(first, last):
    return (("shapes", rectangle(number, number // 10)) for number in range(first, last))
folder = tempfile.TemporaryDirectory()
job = Job(id=1, task_id=1, start_frame=0, stop_frame=N // 10 - 1)
client = SimpleNamespace()
before = peak_mib()
writer = JobWriter(client, job, Path(folder.name), existing=Existing.REPLACE_AUTO)
account = writer._account
account.take_baseline(standing(1, N), Existing.REPLACE_AUTO.removes)
account.waiting("a part", [rectangle(-1, 0)])
for first in range(N, 2 * N, 1000):
    account.note_added(account.stored(standing(first, first + 1000)))
result = account.compare(standing(1, 2 * N))
assert (result.added, result.absent) == (N, [])
writer._replacement.cover(range(N // 10))
client.job = lambda _: SimpleNamespace(updated_date="today")
client.each_job_annotation = lambda _: standing(1, 2 * N)
removed = []
client.delete_job_annotations = lambda _, body: removed.append(len(body["shapes"]))
writer._requests._most_annotations = N
writer._requests._most_bytes = 10**12
assert not writer.removed
for part in writer._requests.remove(lambda standing, most: writer._replacement.look(
        standing, 10, replaceable=account.replaceable(), kept=account.kept(),
        wanted=account.wanted([])).to_go, lambda _: None):
    break
print((peak_mib() - before) * 2**20 / (2 * N))
"""
