"""The deployments of the flows, and what starts their runs.

- `prefect_yaml`: the deployments, read from `prefect.yaml`.
- `serve_deployments`: `prefect-cvat serve`, a process that creates them and executes their runs.
- `set_up_server`: `prefect-cvat setup`, which creates blocks, limits, the work pool, automations and webhook.
- `nightly_schedule`: the schedule of `annotate project`.
- `automations`: creates all automations, and defines the one for crashed runs.
- `new_task_automations`: the automations that start a run for each new task.
- `scope`: which tasks the schedule and the automations are for.
- `credentials_block`, `block_references`, `prefect_server`: the block with the credentials, references to
  blocks in parameters, and the check that the Prefect server answers.
- `webhooks`: `prefect-cvat webhooks`, which sends an event for each webhook of CVAT.
"""
