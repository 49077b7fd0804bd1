"""The annotations of jobs and tasks: checked, stored, merged across jobs."""
