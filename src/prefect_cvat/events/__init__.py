"""What happens on a CVAT server, as events of Prefect."""
