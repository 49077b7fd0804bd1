"""Reports for people: HTML pages, Markdown, plots, drawings of frames.

- `markdown_report`: the report of a run, for Prefect
- `html_page`, `html_report`: the report of a run as a page
- `score_plot`: the histogram of scores; `figures`: what all plots share
- `frame_svg`: one frame with its annotations
- `sample_frames`: some frames of a task with the annotations on the server
- `preview`: a function's detections on a few images
"""
