"""Shapes in pixels: clipping, boxes, intersection over union, keyframes, COCO's forms. Pure."""
