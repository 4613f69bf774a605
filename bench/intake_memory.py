"""Time, peak memory and disk of reading a large file of alerts.

    python -m bench.intake_memory [--gigabytes 1] [--kind document|lines|gzip|elastic] [--order sorted|shuffled]

Writes a file of that size in a temporary folder, takes it in in a process of its own, reads all batches, prints one
line and removes everything.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = {"document": ".json", "lines": ".jsonl", "gzip": ".json.gz", "elastic": ".json"}


def plain_alert(number: int, moment: float, chance: random.Random) -> dict:
    """An alert of the input format, about 330 bytes of JSON."""
    return {
        "id": number,
        "time": moment,
        "src": f"10.{number % 5}.{number % 241}.{number % 199}",
        "dst": f"server-{number % 997}.example.org",
        "name": f"ET POLICY suspicious outbound connection of kind {number % 4000}",
        "tech": ["T1071.001"] if number % 3 else [],
        "other_attributes_dict": {
            "priority": chance.randrange(1, 5),
            "port": chance.randrange(65_536),
            "url": f"http://example.org/{chance.randrange(1_000_000)}/index.html",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)",
        },
    }


def elastic_hit(number: int, moment: float, chance: random.Random) -> dict:
    """A search hit with a Kibana alert, about 2 KB of JSON."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03}Z"
    threat = {"id": "T1071", "name": "Application Layer Protocol", "subtechnique": [{"id": "T1071.001"}]}
    return {
        "_index": ".internal.alerts-security.alerts-default-000001",
        "_id": f"{chance.getrandbits(256):064x}",
        "_source": {
            "@timestamp": when,
            "event": {"kind": "signal", "category": ["network"], "action": "network_flow"},
            "source": {"ip": f"10.{number % 5}.{number % 241}.{number % 199}", "port": chance.randrange(65_536)},
            "destination": {"ip": f"192.0.2.{number % 250}", "port": 443},
            "host": {"name": f"server-{number % 997}", "os": {"family": "windows", "name": "Windows Server 2022"}},
            "process": {"executable": "C:\\Windows\\System32\\rundll32.exe", "args": ["rundll32.exe", "x" * 900]},
            "kibana.alert.uuid": f"{chance.getrandbits(128):032x}",
            "kibana.alert.original_time": when,
            "kibana.alert.severity": "high",
            "kibana.alert.risk_score": 73,
            "kibana.alert.rule.name": f"Unusual Network Connection via RunDLL32 {number % 300}",
            "kibana.alert.rule.threat": [
                {"framework": "MITRE ATT&CK", "tactic": {"id": "TA0011"}, "technique": [threat]},
            ],
        },
    }


def chunks(kind: str, order: str, size: int) -> Iterator[bytes]:
    """The file's text, piece by piece."""
    chance = random.Random(7)
    make = elastic_hit if kind == "elastic" else plain_alert
    opening, between, closing = {
        "lines": (b"", b"\n", b"\n"),
        "elastic": (b'{"took": 7, "hits": {"hits": [', b",", b"]}}"),
    }.get(kind, (b'{"input": [', b", ", b"]}"))
    yield opening
    written = number = 0
    while written < size:
        moment = 1.7e9 + (number * 0.25 if order == "sorted" else chance.random() * 5e6)
        piece = (between if number else b"") + json.dumps(make(number, moment, chance)).encode()
        written += len(piece)
        number += 1
        yield piece
    yield closing


def take(path: Path, work_dir: Path) -> dict:
    """Take the file in and read its batches, as the first state of the pipeline does."""
    from watchfloor.intake import take_in

    started = time.monotonic()
    with path.open("rb") as source, take_in(source, file_name=path.name, work_dir=work_dir) as intake:
        read = time.monotonic()
        batches = alerts = 0
        for batch in intake.batches():
            batches += 1
            alerts += len(batch)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "alerts": alerts,
            "rejected": intake.rejected_count,
            "batches": batches,
            "read_seconds": round(read - started, 1),
            "batch_seconds": round(time.monotonic() - read, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "peak_mb": round(used.ru_maxrss / 1024),
        }


def measure(kind: str, order: str, gigabytes: float) -> dict:
    """Write the file, take it in in a fresh process, watch the work folder."""
    folder = Path(tempfile.mkdtemp(prefix="intake-"))
    try:
        path = folder / f"alerts{SUFFIX[kind]}"
        with gzip.open(path, "wb", compresslevel=1) if kind == "gzip" else path.open("wb") as target:
            for piece in chunks(kind, order, int(gigabytes * 1e9)):
                target.write(piece)
        work_dir = folder / "work"
        command = [sys.executable, "-m", "bench.intake_memory", "--take", str(path), str(work_dir)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        disk = [0]

        def watch() -> None:
            while child.poll() is None:
                if work_dir.is_dir():
                    disk[0] = max(disk[0], sum(entry.stat().st_size for entry in os.scandir(work_dir)))
                time.sleep(0.2)

        watcher = threading.Thread(target=watch)
        watcher.start()
        output, _ = child.communicate()
        watcher.join()
        if child.returncode:
            raise SystemExit(child.returncode)
        size = {"kind": kind, "order": order, "file_mb": round(path.stat().st_size / 1e6)}
        return size | json.loads(output) | {"work_dir_mb": round(disk[0] / 1e6)}
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--kind", choices=SUFFIX, default="document")
    parser.add_argument("--order", choices=["sorted", "shuffled"], default="sorted")
    parser.add_argument("--take", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.take:
        print(json.dumps(take(*args.take)))
    else:
        print(json.dumps(measure(args.kind, args.order, args.gigabytes)))


if __name__ == "__main__":
    main()
