"""What a run will do: the task, its frames, chunks and batches; labels and thresholds."""
