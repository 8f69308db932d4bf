"""What is drawn and what is kept, joined into one crop and put back into the photo."""
