"""What all kinds of runs share: planning, the pipeline of batches, and writing job by job."""
