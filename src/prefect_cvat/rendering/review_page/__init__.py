"""The page to review the frames of a run: HTML with its style sheet, its JavaScript and its images."""
