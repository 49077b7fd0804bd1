"""Geometry of shapes, in pixels. Pure functions.

- `bounding_box`: bounding boxes
- `outlines`: shapes as polygons
- `iou`: intersection over union of shapes and boxes
- `clip_at_image_edge`: shapes cut at the edges of their image
- `coco_format`: shapes in COCO's format
- `interpolation`: the shape of a track between two keyframes
- `keyframe_picker`: which observations of a track must be keyframes
"""
