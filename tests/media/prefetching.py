"""The threads that read ahead."""

import threading


def prefetching_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]
