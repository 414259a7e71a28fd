"""What callers see: HTTP, the WebSocket of /track, the Open Inference Protocol, and the page."""
