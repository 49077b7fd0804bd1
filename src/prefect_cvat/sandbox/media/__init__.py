"""Images and videos: uploaded, made into frames, served as chunks."""
