"""Detections and tracked shapes to tracks."""
