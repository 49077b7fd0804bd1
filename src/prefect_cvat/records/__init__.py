"""The records of runs on this machine, and the locks on tasks and jobs."""
