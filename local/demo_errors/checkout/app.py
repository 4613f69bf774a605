"""Takes orders, and is broken in several ways: the application that `make demo-triage` looks after."""

import logging
import time

import orders
import payments

logging.getLogger().setLevel(logging.INFO)
logger = logging.getLogger("checkout")


def lambda_handler(event, context):
    """Take a batch of orders; those that fail are logged, as a worker does that must get on."""
    logger.info("release 2026.11.20-3 takes %s orders", len(event["orders"]))
    taken = 0
    for order in event["orders"]:
        try:
            logger.info("order %s: %s items", order["id"], len(order["items"]))
            orders.place(order)
            taken += 1
        except Exception:
            logger.exception("order %s could not be placed", order["id"])
    if event.get("settle"):
        payments.settle(event["settle"])
    if event.get("wait_for_warehouse"):
        logger.info("waiting for the warehouse to answer")
        time.sleep(60)
    return {"taken": taken}
