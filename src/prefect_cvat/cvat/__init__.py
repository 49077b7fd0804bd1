"""The CVAT server: its client, lists, annotations, webhooks and issues."""
