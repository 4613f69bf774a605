"""The local cloud's process: ``python -m local.cloud.server``, started by :class:`local.cloud.LocalCloud`.

It takes its listening socket from the parent (``--socket-fd``), so that no port can be lost between choosing and
binding, and ends when the parent does: the parent holds the other end of standard input.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import threading


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.cloud.server", description=__doc__)
    parser.add_argument("--socket-fd", type=int, required=True, help="file descriptor of the bound, listening socket")
    arguments = parser.parse_args()

    from local.cloud import overlay  # MiniStack reads its environment when it is imported

    application = overlay.install()
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(serve(application, arguments.socket_fd))
    finally:
        overlay.shutdown()
        with contextlib.suppress(OSError):
            shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    # Closing the loop and leaving Python would both wait for calls that are still under way; nobody does any more.
    os._exit(0)


async def serve(application, socket_fd: int) -> None:
    """Serve until SIGTERM, SIGINT, or the end of standard input."""
    import hypercorn.asyncio
    import hypercorn.config

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def watch_parent() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch_parent, daemon=True, name="watch-parent").start()

    config = hypercorn.config.Config()
    config.bind = [f"fd://{socket_fd}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.shutdown_timeout = 5
    config.errorlog = None
    serving = asyncio.ensure_future(hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    # Hypercorn waits for every request; one that a function answers may take minutes.
    await asyncio.wait([serving], timeout=2 * config.graceful_timeout)
    if serving.done():
        serving.result()


if __name__ == "__main__":
    main()
