"""Performance of the service, measured as ratios."""
