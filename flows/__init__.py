"""The Prefect flows, and what they share.

Flows, one module each: `annotate_task`, `annotate_project`, `annotate_shards`, `track_task`, `refine_task`,
`evaluate_task`, `export_task`, `find_new_tasks`, `undo_run`. What they share:

- `function_choice`: the function that a run is to use.
- `form`: the titles of the parameters in Prefect's form, and the functions to choose from.
- `run_on_task`: runs a function on one task, with slots, tags, progress and artifacts.
- `shard_runners`: where the shards of a large task run: threads, Dask, Ray.
- `fan_out`: starts the runs on the tasks of a project, some at a time, and waits for them.
- `flow_run_keys`: the tags that record what a run has annotated, so that it is not annotated again.
- `run_history`: what completed runs have annotated, by these tags.
- `final_state`: the message of the final state of a run, and whether it is cancelled.
- `project_report`: the report of a run on a project.
"""
