"""Composites of crop and generated picture, and pasting them into the photo."""
