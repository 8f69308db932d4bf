"""Batch runs over many photos: sources and sinks, manifests, resume, locks, shards, Ray."""
