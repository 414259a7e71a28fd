"""Judging networks: measures, what is measured, and the tables and curves of it."""
