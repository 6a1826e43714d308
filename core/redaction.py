"""Find secrets in addresses and texts, and take them out of what is shown or stored.

A secret is a password before an @, the value of a key such as `token`, `sig` or `sslpassword`, or a word in the shape
of a service's tokens; also percent-encoded, in nested and chained addresses and in connection strings.
"""

import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")
LEVELS = 3  # of percent-encoding
SHORTEST = 4  # characters of a value that is looked for in any text
# of keys, in small letters and without marks: clientsecret, xamzsecuritytoken, …
ENDINGS = (
    *("password", "passwd", "passphrase", "passcode", "pwd"),
    *("secret", "token", "signature", "credential", "credentials"),
    *("apikey", "accesskey", "secretkey", "accountkey", "privatekey", "subscriptionkey", "authkey", "sharedkey"),
)
PASSWORDS = ENDINGS[:5]  # what a key of a query in SQL may not be either
IN_QUERY = {"key", "sig", "pass", "pw", "auth", "authorization", "jwt", "sas", "bearer", "sessionid"}  # ?key=…
NOT_SECRET = re.compile(rf"(?:{VARIABLE.pattern}|\*\*\*)*")
USERINFO = re.compile(
    r"(?P<lead>(?<!\bgithub)(?<!\bgit):[/\\]{2}|^[/\\]{2}|^[\w.+-]+:(?=[^\s/\\:]{2,}:[^\s/\\:@]+@))"
    r"(?P<user>[^\s/\\?#:@\[]*:)(?!:|(?:\d|\$\{\w+\})*(?:[/\\?#]|$))(?P<value>[^\s/\\?#]*|(?:(?!://|::)\S)*)(?=@)"
)
TOKEN_AS_USER = re.compile(r"(?i)(?P<lead>\bhttps?:[/\\]{2})(?P<value>[^\s/\\?#:@]+)(?=@)")
PAIR = re.compile(
    r"""(?P<before>^|[?&;\#:]|[\s,'"{(|])(?P<key>[A-Za-z_%][\w%.-]*)(?P<equal>["']?\s*(?:=|:(?=\s*["']))\s*)"""
    r"""(?P<value>'(?:[^'\\]|\\.)+'|"(?:[^"\\]|\\.)+"|(?:(?![&\s]|;[\w ]+=|["'](?:$|[\s,;:)\]}])).)+)"""
)
HEADER = re.compile(r"""(?i)(?P<lead>\bauthorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer)\s+)?)(?P<value>[^\s"']+)""")
SHAPES = re.compile(
    r"\b(?P<value>(?:AKIA|ASIA)[0-9A-Z]{16}\b|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|hf_\w{20,}|sk-[\w-]{20,}|AIza[\w-]{35}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)

_filled: dict[str, str] = {}  # a value that came from the environment → what stands for it in an address
_secrets: dict[str, str] = {}  # those of them that stand where a secret does


def remember(value: str, shown: str, *, secret: bool = False) -> None:
    """Show a value of an address as `shown` in messages from now on; a `secret` in what is stored, too."""
    for form in {value, quote(value, safe=""), quote_plus(value), unquote(value)}:
        if len(form) >= SHORTEST:
            _filled[form] = shown
            if secret:
                _secrets[form] = shown


def forget() -> None:
    """Show every value as it is again."""
    _filled.clear()
    _secrets.clear()


def known_secrets() -> list[tuple[str, str]]:
    """Return each secret that came from the environment, the longest first, and what stands for it in an address."""
    return sorted(_secrets.items(), key=lambda item: -len(item[0]))


def restore(text: str) -> str:
    """Return a text with `${NAME}` in the place of each secret that came from the environment."""
    for value, shown in known_secrets():
        text = text.replace(value, shown)
    return text


def redact(text: str) -> str:
    """Return a text without secrets: those that came from the environment, and whatever looks like one."""
    for value in sorted(_filled, key=len, reverse=True):
        text = text.replace(value, _filled[value])
    return mask(text)


def mask(text: str) -> str:
    """Return an address or a text with *** in the place of whatever looks like a secret; others as they are."""
    masked = _mask(text)
    for word in dict.fromkeys(masked.split()) if "%" in masked else ():
        plain = word
        for _ in range(LEVELS):
            plain = unquote(plain)
            if _mask(plain) != plain:
                masked = masked.replace(word, _mask(plain))
                break
    return masked


def secrets_of(address: str) -> Iterator[str]:
    """Yield what looks like a secret in an address."""
    secrets: list[str] = []
    _mask(address, secrets)
    yield from secrets


def _mask(text: str, secrets: list[str] | None = None) -> str:
    def hide(match: re.Match[str]) -> str:
        value = match["value"]
        if NOT_SECRET.fullmatch(value.strip("'\"")) or ("key" in match.re.groupindex and not _is_secret(match)):
            return match[0]
        if secrets is not None:
            secrets.append(value)
        start = match.start()
        return match[0][: match.start("value") - start] + MASK + match[0][match.end("value") - start :]

    for pattern in (USERINFO, TOKEN_AS_USER, PAIR, HEADER, SHAPES):
        text = pattern.sub(hide, text)
    return text


def _is_secret(pair: re.Match[str]) -> bool:
    """Tell whether the key of a pair names a secret; inside SQL, where columns may have any name, passwords alone."""
    name = re.sub(r"[\W_]|\d+$", "", unquote(pair["key"])).lower()
    ends = name.endswith(ENDINGS)
    if pair["before"] in tuple("?&;#:"):
        return ends or name in IN_QUERY
    if ends and "query=" in pair.string[: pair.start()].lower():
        return pair["equal"] == "=" and pair["value"][0] not in "'\"" and name.endswith(PASSWORDS)
    return ends
