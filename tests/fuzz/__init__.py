"""Coverage-guided fuzzing of everything that strangers' bytes reach; see README.md."""
