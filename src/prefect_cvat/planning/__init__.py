"""Plans a run: the task, its frames, chunks and batches; label mapping and thresholds."""
