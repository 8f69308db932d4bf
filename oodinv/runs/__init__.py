"""Runs over many photos: what goes in and comes out, resume, several processes and machines."""
