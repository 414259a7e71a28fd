"""The network: configuration, blocks, and what it costs."""
