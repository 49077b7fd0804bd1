"""Memory of a run on a task that has many annotations already, in jobs of which each holds its part.

python benchmarks/existing.py [--existing keep] [--shapes 15000 180000] [--jobs 40]
"""

from __future__ import annotations

import argparse
import json

from benchmark_functions import free
from servers import in_child, log_in, make_task, measured, sandbox

from prefect_cvat import Client, annotate_task, auto_annotation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", type=int, nargs="*", default=[0, 15_000, 180_000])
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--existing", default="keep", choices=["keep", "clear", "replace_auto"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        url, task_id, existing = arguments.child
        function = free.make(auto_annotation, 20)
        with log_in(url) as client:
            run = lambda: annotate_task(client, int(task_id), function, existing=existing)  # noqa: E731
            print(json.dumps(measured(run)))
        return
    print(f"existing={arguments.existing}, {arguments.jobs} jobs of one frame, 20 boxes on each")
    for shapes in arguments.shapes:
        with sandbox() as url, log_in(url) as client:
            task_id = make_task(client, arguments.jobs, labels=["car"], segment_size=1)
            place(client, task_id, shapes // arguments.jobs)
            result = in_child(__file__, "--child", url, task_id, arguments.existing)
        print(
            f"{shapes:>8} existing shapes: peak {result['peak_mb']:.0f} MB, {result['wall']:.1f} s,"
            f" {result['cpu']:.1f} s of client CPU",
            flush=True,
        )


def place(client: Client, task_id: int, each: int) -> None:
    """Let so many shapes of machines be on the frame of each job."""
    label_id = client.labels(task_id)[0].id
    for job in client.jobs(task_id):
        for start in range(0, each, 2000):
            shapes = [
                {
                    "type": "rectangle",
                    "frame": job.start_frame,
                    "label_id": label_id,
                    "source": "auto",
                    "points": [number % 700, number % 500, number % 700 + 20.5, number % 500 + 9.25],
                }
                for number in range(start, min(each, start + 2000))
            ]
            client.create_job_annotations(job.id, {"shapes": shapes})


if __name__ == "__main__":
    main()
