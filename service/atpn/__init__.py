"""ATPN: face landmarks, head pose and face tracking as a microservice."""

__version__ = "0.1.0"
