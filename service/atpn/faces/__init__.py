"""What is done with a picture: decode, detect, crop, look, track. Knows no HTTP."""
