"""Reports for people: HTML pages, Markdown, plots, drawings of frames.

- `run_report_markdown`: the report of a run, for Prefect
- `review_page`: the page to review frames; `run_page`: what it shows of a run
- `score_plot`: the histogram of scores; `figures`: what all plots share
- `frame_svg`: one frame with its annotations
- `sample_frames`: some frames of a task with the annotations on the server
- `preview`: a function's detections on a few images
"""
