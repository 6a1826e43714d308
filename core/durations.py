"""Parse durations as a person writes them: "30m", "6h", "7d", "1w", "3 days"."""

import re

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]|seconds?|minutes?|hours?|days?|weeks?)")
HOUR, DAY = 3600.0, 86_400.0  # seconds
SECONDS = {"s": 1, "m": 60, "h": HOUR, "d": DAY, "w": 7 * DAY}


def parse_duration(text: str) -> float:
    """Return a duration in microseconds. Raises ValueError."""
    match = DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration; write 30m, 6h, 2d or 1w")
    return float(match[1]) * SECONDS[match[2][0]] * 1e6
