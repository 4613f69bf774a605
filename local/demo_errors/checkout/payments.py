"""Booking payments."""

import logging
import socket

logger = logging.getLogger("payments")
# Nobody should write a password here, and yet: it is in the error below, and must be nowhere else.
LEDGER = "postgresql://checkout:Winter-2026-sun@ledger.internal:5432/bookings"


class LedgerUnavailableError(Exception):
    """The ledger took no connection."""


def settle(host):
    logger.info("settling with the ledger")
    try:
        socket.create_connection((host, 9), timeout=1)
    except OSError as error:
        raise LedgerUnavailableError(f"no connection to {LEDGER} after 1 try, user jo.doe@example.com") from error
