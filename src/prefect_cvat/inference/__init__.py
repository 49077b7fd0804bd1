"""Functions on images: detection, tracking and refining shapes, output checks, kept detections."""
