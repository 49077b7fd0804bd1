"""The parts shared by all kinds of runs: planning, the pipeline of batches, and writing job by job."""
