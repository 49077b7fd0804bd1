"""Records of runs on this machine, and the lock on a task."""
