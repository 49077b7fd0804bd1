"""The Prefect tasks, and the artifacts and slots of concurrency limits of a run.

- `stages`: the stages of a run on a task (plan, validate, fetch, detect, remap, upload) as Prefect tasks.
- `annotate_shard`: a Prefect task that runs all stages on some jobs of a task.
- `flow_run_watch`: stops the shards of a flow run that is no longer running.
- `prefect_task_options`: retries and error messages of all of these.
- `log_records`: shorter tracebacks in the logs of runs.
- `artifacts`: the progress bar, report and pictures of a run in Prefect's pages.
- `run_in_slots`: a run with its slots, the same for flow runs and shards.
- `prefect_limits`, `wait_for_device`, `wait_for_task`: how many runs use a server, a GPU or a task at a time.
- `slot_leases`: takes slots of Prefect's limits, and renews them.
"""
