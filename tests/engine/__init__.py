"""Tests on a real Docker engine: `make test-engine`."""
