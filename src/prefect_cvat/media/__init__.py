"""Chunks to images: download, image chunks, video chunks, decoding, prefetching."""
