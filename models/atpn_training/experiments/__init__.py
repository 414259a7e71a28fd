"""The paper's experiments on the real test sets, one command a table."""
