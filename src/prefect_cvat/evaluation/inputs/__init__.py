"""Reads ground truth and predictions, and converts them to COCO's format."""
