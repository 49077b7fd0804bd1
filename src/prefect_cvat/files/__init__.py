"""Files and folders: temporary folders, permissions, output files."""
