"""Learning: plans, stages, runs, and the commands that start them."""
