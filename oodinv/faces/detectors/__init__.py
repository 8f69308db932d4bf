"""Face detectors, a module for each. They give five points in a common sense."""
