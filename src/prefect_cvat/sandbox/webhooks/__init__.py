"""The webhooks of CVAT's API: created, listed, changed, tried."""
