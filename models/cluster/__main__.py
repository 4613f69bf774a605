"""Why is an alert in its cluster?

    python -m models.cluster REQUEST.json [--alert I]...

REQUEST.json is what the clustering model was sent: alerts, node features, state. Prints a line per alert.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import orjson

from models.cluster import explain, settings_from
from models.contract import BadRequestError, check_alerts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("request", type=Path)
    parser.add_argument("--alert", type=int, action="append", metavar="I", help="only this alert; may be repeated")
    args = parser.parse_args()
    try:
        alerts, node_feature, state, final = check_alerts(orjson.loads(args.request.read_bytes()))
        reasons = explain(alerts, node_feature, state, settings_from(os.environ), final=final)
    except (OSError, BadRequestError, orjson.JSONDecodeError) as error:
        print(f"{args.request}: {error}", file=sys.stderr)
        return 1
    unknown = [i for i in args.alert or () if i not in reasons]
    if unknown:
        print(f"{args.request}: there is no alert {', '.join(map(str, unknown))}", file=sys.stderr)
        return 1
    for i in args.alert or sorted(reasons):
        print(f"{i}\t{reasons[i]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
