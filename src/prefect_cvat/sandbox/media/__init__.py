"""Images and videos: uploads, conversion to frames, and chunks."""
