"""What it learns from: labelled faces, what is done to them, and batches of them."""
