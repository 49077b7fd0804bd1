"""Detection functions that come with prefect-cvat: one module each, with a function `create`."""
