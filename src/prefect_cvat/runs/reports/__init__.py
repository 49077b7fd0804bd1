"""What a run did, or would do."""
