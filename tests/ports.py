"""Ports for servers that must be told one before they start."""

import contextlib
import random
import socket

FIRST, LAST = 10_000, 32_000
"""Below those that Linux gives to outgoing connections: between the choice and the start another test may make many."""
_CHANCE = random.SystemRandom()  # not the seeded one: tests that run side by side would all choose the same


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < number:
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", _CHANCE.randrange(FIRST, LAST)))
                found.append(probe.getsockname()[1])
        return found
