"""Prefect events about objects in CVAT: `cvat_events` creates them, `send_events` sends them.

The webhook receiver (`prefect_cvat.deployments.webhooks`) and the flow `find new tasks` use both.
"""
