"""Projects, tasks, jobs, labels and issues of CVAT's API."""
