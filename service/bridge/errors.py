"""What can go wrong between the bridge and its peers.

BridgeError
├── PeerError       the service or an archive is unreachable; worth another attempt, also for other studies
├── RefusedError    a peer refused a request for now; worth another attempt
├── StudyError      the service cannot segment a study; another attempt with the same images would fail too
├── LostJobError    a job that the service does not know any more
└── FullError       the folder of the bridge has reached its limit, or its disk is full
"""

from enum import StrEnum


class Peer(StrEnum):
    """What the bridge is connected to."""

    SERVICE = "service"  # segments
    ARCHIVE = "archive"  # gets the results
    SOURCE = "source"  # is searched for studies


class BridgeError(Exception):
    """An error between the bridge and its peers. Messages contain nothing about patients."""


class PeerError(BridgeError):
    """The service or an archive is unreachable."""

    def __init__(self, peer: Peer, message: str) -> None:
        super().__init__(message)
        self.peer = peer


class RefusedError(BridgeError):
    """A peer refused a request for now: its queue is full, an API key is wrong, an object is not accepted."""


class StudyError(BridgeError):
    """The service cannot segment a study; the message is the type of the problem."""


class LostJobError(BridgeError):
    """A job that the service does not know any more."""


class FullError(BridgeError):
    """The folder of the bridge has reached its limit, or its disk is full."""
