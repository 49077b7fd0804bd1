"""Matches predictions with ground-truth objects as COCO does."""
