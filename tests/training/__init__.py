"""Tests of the training package, without its data."""
