"""What is compared: ground truth and predictions, read and converted to COCO's format."""
