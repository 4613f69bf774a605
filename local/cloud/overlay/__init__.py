"""What the local cloud adds to MiniStack and mends in it, one module a concern.

MiniStack's private functions are replaced, so its version is pinned and every one of them is compared with the
source the overlay was written for; see :mod:`local.cloud.anchors`.
"""

from collections.abc import Callable
from typing import Any

from local.cloud import anchors


def install() -> Callable[..., Any]:
    """Check MiniStack, patch it, and return the ASGI application."""
    anchors.check()

    from ministack import app

    from local.cloud.overlay import (
        alarms,
        cloudformation,
        concurrency,
        control,
        data_flow,
        deployments,
        events,
        iam_names,
        interpreter,
        lambda_workers,
        log_patterns,
        log_queries,
        log_subscriptions,
        performance_insights,
        policy_simulator,
        queues,
        records,
        redrive,
        sagemaker,
        scaling,
        schedules,
        step_functions,
        target_health,
        task_tokens,
        transport,
    )

    for concern in (
        alarms,
        cloudformation,
        concurrency,
        data_flow,
        deployments,
        events,
        iam_names,
        interpreter,
        lambda_workers,
        log_patterns,
        log_queries,
        log_subscriptions,
        performance_insights,
        policy_simulator,
        queues,
        records,
        redrive,
        sagemaker,
        scaling,
        schedules,
        step_functions,
        target_health,
        task_tokens,
        transport,
    ):
        concern.install()
    return control.wrap(app.app)


def shutdown() -> None:
    """End every process that the services started."""
    from ministack.core import lambda_runtime

    from local.cloud.overlay import model_servers

    lambda_runtime.reset()
    model_servers.stop_all()
