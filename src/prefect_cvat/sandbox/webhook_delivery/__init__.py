"""What webhooks are sent: events, the queue, the thread that sends."""
