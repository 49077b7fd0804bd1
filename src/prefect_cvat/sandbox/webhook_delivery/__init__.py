"""Sending webhooks: their events, the queue, and the thread that sends them."""
