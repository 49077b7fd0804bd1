"""Files and folders on this machine: spools, permissions, output."""
