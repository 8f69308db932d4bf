"""Reads and writes photos: decoding, encoding, metadata, pixels, atomic files."""
