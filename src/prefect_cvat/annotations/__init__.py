"""From what a function found to what is written: label remapping, duplicates, existing annotations."""
