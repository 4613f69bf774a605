"""``python -m local.cloud.child MODULE`` runs a module in a process that ends when the one that started it does.

A process killed outright cannot end its children; they have to notice.
"""

import os
import runpy
import sys
import threading
import time

CHECK_SECONDS = 0.5


def end_with_parent() -> None:
    """End this process when its parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
