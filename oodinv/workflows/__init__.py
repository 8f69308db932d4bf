"""Workflows behind the commands, each over a folder of photos or results."""
