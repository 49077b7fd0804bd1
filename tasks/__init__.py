"""The stages of the pipeline as Prefect tasks, one module each."""
