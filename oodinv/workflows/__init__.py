"""What each command does to a folder of photos or results."""
