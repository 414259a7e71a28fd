"""Where a stream's newest frame waits for the one before it: a newer one takes its place."""

import time
from dataclasses import dataclass


@dataclass
class Mailbox:
    """The newest frame that waits, how many it replaced, and whether a reset came before it."""

    frame: bytes | None = None
    arrived_s: float = 0.0
    skipped: int = 0
    reset: bool = False  # before the waiting frame
    reset_next: bool = False  # before the frame that is still to come

    def put(self, frame: bytes) -> bool:
        """Leave a frame; True if it replaced one that nobody had taken."""
        replaced = self.frame is not None
        self.skipped += replaced
        self.frame, self.arrived_s = frame, time.monotonic()
        self.reset, self.reset_next = self.reset or self.reset_next, False
        return replaced

    def take(self) -> "Mail":
        """The waiting frame; LookupError if there is none."""
        if self.frame is None:
            raise LookupError("no frame waits")
        mail = Mail(self.frame, self.arrived_s, self.skipped, self.reset)
        self.frame, self.skipped, self.reset = None, 0, False
        return mail


@dataclass(frozen=True)
class Mail:
    """A frame and when it came, how many before it were dropped, whether to forget all faces."""

    frame: bytes
    arrived_s: float  # monotonic clock
    skipped: int
    reset: bool
