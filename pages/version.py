"""Name what decides how a page looks beside its data."""

import hashlib
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


def templates_version() -> str:
    """Return a hash of the templates and the style sheet, in hex: where it changes, a page is drawn anew."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(TEMPLATES.iterdir()):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()
