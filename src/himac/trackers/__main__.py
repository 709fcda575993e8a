"""One tracker in a process of its own: `python -m himac.trackers NAME` reads what it is told, a JSON object a line."""

from __future__ import annotations

import json
import sys

from himac.trackers.base import TRACKERS, About


def main() -> None:
    """Until the end of the input, which a training that was killed ends too."""
    about = About(**json.loads(sys.stdin.readline()))
    tracker = TRACKERS.load(sys.argv[1])(about)
    for line in sys.stdin:
        message = json.loads(line)
        if "text" in message:
            tracker.episodes(message["text"], message["step"])
        else:
            tracker.log(message["values"], message["step"])
    tracker.close()


if __name__ == "__main__":
    main()
