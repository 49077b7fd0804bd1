"""Annotations between a function and the server. Pure, but for reading existing annotations.

- `remapped_detections`: from a function's detections to annotations of the task
- `existing_annotations`: which detections are annotated already
- `content_digest`: recognizes an annotation by its content
- `request_bodies`: how annotations are split into requests
"""
