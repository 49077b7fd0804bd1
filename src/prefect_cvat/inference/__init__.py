"""Runs functions on images: detection, shape tracking, shape refinement, output checks, detection cache."""
