"""Keep secrets out of addresses: an address holds `${NAME}`, which the environment fills in when it is read."""

import os
import re
from urllib.parse import quote, unquote

from evergreen.core.errors import DataError
from evergreen.core.redaction import MASK, VARIABLE, mask, remember, secrets_of

ENCODED = re.compile(r"(?<=://)[^/?#]*(?=@)|(?<=[?&])[^?&=]+=[^&]*")  # where a URL wants values percent-encoded
LOGIN = re.compile(r"(?<=//)[^/?#]*@")
DROPPED = str.maketrans("", "", "\t\r\n")  # by readers of addresses
MIN_UNKNOWN = 8  # characters of a value that messages show by its name though it stands where no secret does


def check_no_secret(address: str) -> None:
    """Raise DataError for an address with a secret in it, showing the address up to there."""
    address = LOGIN.sub(lambda found: found[0].replace(" ", ""), address.translate(DROPPED))
    masked = mask(address)
    if masked != address:
        kind = "password" if "@" in masked.partition(MASK)[2][:1] or "pass" in masked.lower() else "secret"
        fix = "write ${NAME} in its place: the environment's NAME is filled in when the address is read"
        raise DataError(f"the address holds a {kind}", place=f"{masked.partition(MASK)[0]}{MASK}", fix=fix)


def fill(address: str) -> str:
    """Return an address with the environment's value for each `${NAME}`, percent-encoded where a URL wants it.

    Raises DataError where the environment has no such value.
    """
    encoded = [match.span() for match in ENCODED.finditer(address)]
    values: dict[str, str] = {}

    def value(match: re.Match[str]) -> str:
        text = os.environ.get(match[1], "").strip("\r\n")
        if not text:
            fix = f"set it to the secret that belongs there: export {match[1]}=…"
            raise DataError(f"the environment has no {match[1]}", place=address, fix=fix)
        values[text] = match[0]
        inside = any(start <= match.start() < end for start, end in encoded)
        return quote(text, safe="") if inside else text

    filled = VARIABLE.sub(value, address)
    for text, shown in values.items():
        if len(text) >= MIN_UNKNOWN and not os.path.exists(text):  # it may be a secret wherever it stands
            remember(text, shown)
    for secret in secrets_of(filled) if values else ():  # also those of an address that is a variable as a whole
        remember(secret, values.get(secret) or values.get(unquote(secret)) or MASK, secret=True)
    return filled


def is_address(place: str) -> bool:
    """Tell whether a place is an address; else it is a path."""
    return ":" in place.partition("/")[0]


def join(address: str, *names: str) -> str:
    """Return the address of what has these names under an address; its options, after `?`, stay at the end."""
    place, mark, options = address.partition("?")
    return "/".join([place.rstrip("/"), *names]) + mark + options
