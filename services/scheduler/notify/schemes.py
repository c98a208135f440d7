"""Which addresses a contact may have, and how much of one is shown. Pure.

Only services that carry a message to people elsewhere are allowed: nothing that writes files, starts programs,
or speaks to this machine's desktop, log or buses.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from services.scheduler.notify.model import ContactSchemeRefused, ContactUrlInvalid

WEBHOOKS = frozenset({"json", "jsons"})
# Their host is that of a server, so it may be shown; the others carry credentials in its place.
_NAMES_ITS_HOST = frozenset(
    {
        "mailto", "mailtos", "ntfys", "gotify", "gotifys", "mmost", "mmosts", "rocket", "rockets", "matrix",
        "matrixs", "synology", "synologys", "nctalk", "nctalks", "bark", "barks", "pushdeer", "pushdeers",
        "signal", "signals",
    }
)  # fmt: skip
_OTHERS = frozenset(
    {
        "dingtalk", "wecombot", "feishu", "lark", "slack", "workflow", "workflows", "tgram", "ntfy", "discord",
        "gchat", "zulip", "webex", "wxteams", "pover", "pbul", "schan", "wxpusher", "pushplus", "flock",
        "ryver", "twist", "line", "revolt", "guilded", "cliq", "pagerduty", "opsgenie", "sendgrid", "mailgun",
        "postmark", "brevo", "resend", "mailersend",
    }
)  # fmt: skip
ALLOWED = WEBHOOKS | _NAMES_ITS_HOST | _OTHERS
MOST_URL_BYTES = 4096
# They name files of this machine, or keys that lie in them.
_REFUSED_OPTIONS = frozenset(
    {"template", "pgp", "pgpkey", "pgppub", "pgpprv", "wkd", "attach", "key", "keyfile"}
)


def check_url(url: str) -> str:
    """The scheme of a contact's URL. Raises `ContactUrlInvalid` or `ContactSchemeRefused`; neither shows the URL."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or not rest or len(url.encode()) > MOST_URL_BYTES or not url.isprintable() or " " in url:
        raise ContactUrlInvalid(
            "it is not a URL such as mailto://user:password@example.org or jsons://example.org/hook", field="url",
            next_step="docs/contacts.md shows one for each service",
        )  # fmt: skip
    if scheme not in ALLOWED:
        raise ContactSchemeRefused(
            f"contacts of scheme {scheme[:40]!r} are not allowed", field="url",
            next_step=f"choose of {', '.join(sorted(ALLOWED))}",
        )  # fmt: skip
    try:
        parts = urlsplit(url)
        options = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        _ = parts.port if scheme in WEBHOOKS else None
    except ValueError as error:
        raise ContactUrlInvalid("its host, port or options cannot be read", field="url") from error
    refused = sorted(options & _REFUSED_OPTIONS)
    if refused:
        raise ContactUrlInvalid(
            f"the option {refused[0]!r} would read files of the scheduler's machine", field="url",
            next_step="leave it out",
        )  # fmt: skip
    if scheme in WEBHOOKS and not parts.hostname:
        raise ContactUrlInvalid("it names no host", field="url", next_step="jsons://example.org/hook")
    return scheme


def redacted(url: str) -> str:
    """The address as it may be shown and logged: no user, no password, no token, no path, no options."""
    scheme = url.partition("://")[0].lower()
    if scheme not in WEBHOOKS | _NAMES_ITS_HOST:
        return f"{scheme}://…"
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{scheme}://{host}{port}{more}"


def secrets_of(url: str) -> tuple[str, ...]:
    """Every part of the URL that must not appear in an error, longest first."""
    parts = urlsplit(url)
    found = {
        part for name in (parts.username, parts.password, *parts.path.split("/")) if name for part in [name]
    }
    found |= {value for _, value in parse_qsl(parts.query)}
    if parts.scheme.lower() not in WEBHOOKS | _NAMES_ITS_HOST:
        found.add(parts.netloc)
        found.add(parts.netloc.rpartition("@")[2])
    found |= {unquote(part) for part in found}
    return tuple(sorted((part for part in found if len(part) >= 4), key=len, reverse=True))
