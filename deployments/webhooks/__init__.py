"""From a webhook of CVAT to an event on the Prefect server."""
