"""The CVAT server: client, tasks, annotations, webhooks and issues."""
