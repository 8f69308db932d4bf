"""Photos in and out: decoding, encoding, metadata, pixels, and files that are whole or absent."""
