"""Writes annotations to the jobs of a task, each exactly once, and undoes runs.

**The problem.** CVAT 2.73 has no idempotency keys, no version numbers and no locks, and it executes a
request even if the client has closed the connection. After a time-out, a client does not know whether its
annotations were stored. If it sends them again, they may be stored twice; if it does not, they may be
missing.

**Assumptions.** Each stored annotation has an id, and new annotations have higher ids than old ones. A job
can be read. A request is executed completely or not at all. A server executes a request within
`late_commit_seconds` after the client gives up on it, or never; reads are at most `stale_read_seconds`
behind writes (both in `settings.py`).

**The algorithm**, for each job (`JobWriter`):

1. *Baseline.* Before the first write to the task, read all annotations of its jobs, and store their ids and
   digests (`baseline.py`).
2. *Match.* Skip annotations of source `auto` that the baseline already contains. So running a killed run
   again, on any machine, completes it.
3. *Send.* Queue whole frames up to about 2000 annotations (`sending/upload_queue.py`). A request writes to
   one job (`sending/job_sender.py`, `sending/job_requests.py`) or, where the result is the same, to several
   jobs through the task (`sending/task_sender.py`); each of these jobs treats it as a request of its own.
   Record the digests before a request, and the ids after its response.
4. *Unknown outcome* (a time-out, a reset connection, 502 to 504): read the job until it has the annotations,
   or until the server can no longer be executing the request (`sending/unknown_outcomes.py`). Only then send
   again. The request created an annotation if the digest is equal and the id is higher than all ids known
   when the request was sent.
5. *Verify.* After all writes, read all jobs again (`job_verification.py`, `job_comparison.py`). Look for
   missing annotations until reads must show them, then send them again, then report them as missing.
6. *Replace.* Now that the job has all new annotations, remove the ones they replace (`replacement.py`).
   Remove nothing on frames that were left out, failed, or lack an annotation, and nothing that was added or
   changed after the baseline.

**Undo** (`JobWriter.undo`, `undo_annotations.py`) removes annotations whose ids the server gave to this run,
and those created by a request of unknown outcome (the rule of step 4), unless somebody has changed them.

A lock prevents two runs on a task on one machine (`records/run_lock.py`); Prefect's concurrency limits
prevent them on several. If both fail, each run leaves the annotations of the other alone and reports
duplicates.

`JobWriter` orders these steps, `JobLedger` knows what has been sent and stored, `JobSender` handles failures,
and `JobRequests` makes the requests.
"""
