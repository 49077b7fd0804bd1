"""Writing annotations to the jobs of a task, each exactly once, and undoing a run.

**The problem.** CVAT 2.73 has no idempotency key, no version to compare and no lock, and it executes a
request even if the client has closed the connection. After a time-out a client does not know whether its
annotations were stored. If it sends them again they may be there twice; if it does not, they may be
missing.

**What can be relied on.** Each stored annotation has an id, and new annotations have higher ids than old
ones. A job can be read. A request is executed as a whole or not at all. A server has executed a request
`late_commit_seconds` after the client gave it up, or never does; reads are at most `stale_read_seconds`
behind writes (both in `settings.py`).

**The algorithm**, for each job (`JobWriter`):

1. *Baseline.* Before the first write to the task, read all that its jobs hold, and note the ids and digests
   (`baseline.py`).
2. *Match.* An annotation of source `auto` that the baseline contains already is not written. So a run that
   was killed is completed by running it again, on any machine.
3. *Send.* Annotations wait until there are about 2000 (`sending/upload_queue.py`); those of a frame go
   together. One request is about one job (`sending/job_sender.py`, `sending/job_requests.py`) or, where that
   is the same, about the task, with annotations of several jobs (`sending/task_sender.py`); for each job that
   is a request of its own. Digests are written to the record of the run before a request, and ids after its
   response.
4. *Unknown outcome* (a time-out, a reset connection, 502 to 504): read the job until the annotations are
   there, or until the server can no longer be executing the request (`sending/unknown_outcomes.py`). Only
   then send again. An annotation counts as created by the request if its digest is equal and its id is higher
   than all that were known when the request was sent.
5. *Verify.* When all is written, read all jobs again (`job_verification.py`, `job_comparison.py`).
   Annotations that are missing are looked for until reads must show them, then sent again, then reported as
   missing.
6. *Replace.* Now that all new annotations are known to be there, remove what they replace
   (`replacement.py`). Nothing is removed on frames that were left out, failed, or miss an annotation; nor
   anything that was added after the baseline, or changed since.

**Undoing** (`JobWriter.undo`, `undo.py`) removes annotations whose ids the server gave to this run, and
those that came with a request of unknown outcome (the rule of step 4), unless somebody has changed them.

Two runs on a task are kept apart by a lock on one machine (`records/run_lock.py`) and by Prefect's
concurrency limits on several. Where both fail, each run leaves the annotations of the other alone, and
reports those that are there twice.

`JobWriter` decides the order of these steps, `JobLedger` knows what has been sent and stored, `JobSender`
handles failures, and `JobRequests` makes the requests.
"""
