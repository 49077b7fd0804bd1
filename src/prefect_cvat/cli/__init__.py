"""The command `prefect-cvat`, one module a command."""
