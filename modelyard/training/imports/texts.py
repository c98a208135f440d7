"""Texts of a container as texts of the language: references are filled in, names of hosts become addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_DOMAIN = r"(?:\.[a-z0-9-]+){0,3}"
_PATH = re.compile(r"""(?:^|[\s"'=])(/[A-Za-z0-9_][^\s"';|&()<>]*)""")
_EVERYWHERE = ("/bin/", "/usr/", "/sbin/", "/dev/", "/proc/", "/sys/", "/tmp/", "/etc/", "/run/",
               "/var/run/", "/var/tmp/", "/lib")  # fmt: skip


ALL_MOST = 2 << 20
"""Characters of all texts of a job, with references filled in."""


class TextsTooLarge(ValueError):
    """References that are filled in make too much of a small source."""


class Hosts(msgspec.Struct, frozen=True):
    """Names that a cluster gives to instances of a role: `prefix`, and the number of one of `count`."""

    prefix: str
    role: str
    count: int
    inner: int = 0
    """Two numbers stand in the name, and the second counts up to here; 0: there is one."""
    offset: int = 0
    """Added to the index."""
    leader: str = ""
    """The role whose one instance is meant by what is −1 then."""

    def pattern(self) -> str:
        numbers = r"-[0-9]{1,5}-[0-9]{1,5}" if self.inner else r"-[0-9]{1,5}"
        return re.escape(self.prefix) + numbers

    def address(self, name: str) -> str:
        """The expression; empty: there is no such instance."""
        parts = [int(part) for part in name[len(self.prefix) + 1 :].split("-")]
        if self.inner and parts[1] >= self.inner:
            return ""
        number = parts[0] * self.inner + parts[1] if self.inner else parts[0]
        if number >= self.count:
            return ""
        index = number + self.offset
        return f"${{roles.{self.role}[{index}].host}}" if index >= 0 else f"${{roles.{self.leader}[0].host}}"


class Texts(msgspec.Struct):
    """What is known where texts are read."""

    hosts: tuple[Hosts, ...] = ()
    replaced: Mapping[str, str] = {}
    """Further texts and what they become: `/etc/volcano` for example."""
    spent: int = 0

    def convert(self, text: str, variables: Mapping[str, str], unknown: list[str] | None = None) -> str:
        """A template. `variables`: templates by name; references to others stay, and are added to `unknown`.

        Raises TextsTooLarge.
        """
        parts: list[tuple[bool, str]] = []
        for is_value, part in _expanded(text, variables, unknown):
            self.spend(len(part))
            parts += [(True, part)] if is_value else self._located(part)
        return _joined(parts)

    def spend(self, count: int) -> None:
        """Counts characters that a job file is to have. Raises TextsTooLarge."""
        self.spent += count
        if self.spent > ALL_MOST:
            raise TextsTooLarge

    def _located(self, text: str) -> Iterator[tuple[bool, str]]:
        names = [*(f"(?:{hosts.pattern()}){_DOMAIN}(?![a-z0-9-])" for hosts in self.hosts)]
        names += map(re.escape, self.replaced)
        if not names:
            yield False, text
            return
        start = 0
        for found in re.finditer(rf"(?<![A-Za-z0-9.-])(?:{'|'.join(names)})", text):
            address = self.replaced.get(found[0]) or self._address(found[0])
            if address:
                yield False, text[start : found.start()]
                yield True, address
                start = found.end()
        yield False, text[start:]

    def _address(self, name: str) -> str:
        for hosts in self.hosts:
            if found := re.match(hosts.pattern(), name):
                return hosts.address(found[0])
        return ""


def plain(text: str) -> str:
    """In which nothing is filled in."""
    return text.replace("${", "$${")


def _expanded(
    text: str, variables: Mapping[str, str], unknown: list[str] | None
) -> Iterator[tuple[bool, str]]:
    """$(NAME) is a variable of the container, $$ is a plain $."""
    start, before = 0, ""
    for found in _REFERENCE.finditer(text):
        before += text[start : found.start()]
        start = found.end()
        if found[1] is None:
            before += "$"
        elif found[1] in variables:
            yield False, before
            yield True, variables[found[1]]
            before = ""
        else:
            before += found[0]
            if unknown is not None and found[1].isidentifier():
                unknown.append(found[1])
    yield False, before + text[start:]


def _joined(parts: list[tuple[bool, str]]) -> str:
    done, before = "", ""
    for is_value, part in parts:
        if is_value:
            done, before = _beside(_beside(done, plain(before)), part), ""
        else:
            before += part
    return _beside(done, plain(before))


def _beside(done: str, part: str) -> str:
    """One after the other, each still read as it is alone."""
    if done.endswith("$") and part.startswith(("{", "${")):
        rest = done.rstrip("$")
        done = f"{rest}${{'{done[len(rest) :]}'}}"
    return done + part


def image_paths(text: str) -> list[str]:
    """Absolute paths of a text that only an image has."""
    found = (match[1].rstrip(".,:") for match in _PATH.finditer(text))
    return [path for path in found if not f"{path}/".startswith(_EVERYWHERE)]
