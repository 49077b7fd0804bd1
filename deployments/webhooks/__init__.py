"""Receives webhooks of CVAT and sends them to the Prefect server as events: `prefect-cvat webhooks`.

A webhook passes these modules in order:

- `connections`: limits on open connections, so that other clients cannot keep webhooks out.
- `receiver`: the HTTP server and its thread; whose updates are ignored.
- `endpoint`: checks size and signature, and answers CVAT.
- `parse_webhook`: which webhook becomes which event, and which is ignored, and why.
- `deliveries`: a file of the events that wait, and of the webhooks that were received before.
- `event_relay`: sends the events to the Prefect server until it accepts them.

`webhook_secret` reads the secret that webhooks are signed with. `prefect_cvat.cvat.webhooks` registers the
webhook in CVAT, and `prefect_cvat.events` defines the events.
"""
