"""Finding faces in photos, and the square that is cut out around each."""
