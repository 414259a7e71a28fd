"""Training of ATPN: the network, its data, the three stages, export and evaluation."""
