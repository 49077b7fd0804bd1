"""What a human should look at first."""
