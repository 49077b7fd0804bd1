"""Makes CVAT tracks of detections and of tracked shapes."""
