"""Reads apt's own source files, both forms, and writes the one source that a private apt needs. No I/O.

Knows sources.list(5). Does not know where the files are, nor which mirror anybody should use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
# The options of the one-line form whose deb822 field has another name, sources.list(5), "Options".
FIELD_OF_OPTION = {"arch": "architectures", "lang": "languages", "target": "targets"}
# Fields that say which archive it is or what is taken from it; the others say how to reach and to trust the mirror.
OWN_FIELDS = {"types", "uris", "suites", "components", "enabled", "architectures", "languages", "targets", "pdiffs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One archive as apt knows it: field names in lower case, the values as they stand."""

    fields: dict[str, str]

    @property
    def offers_a_release(self) -> bool:
        """Whether this is a distribution's main archive, not one of its updates, security or foreign archives."""
        plain = [suite for suite in self.fields["suites"].split() if "-" not in suite and "/" not in suite]
        return bool(plain) and "main" in self.fields.get("components", "").split() and self.uri is not None

    @property
    def uri(self) -> str | None:
        return next((uri for uri in self.fields["uris"].split() if not uri.startswith("cdrom:")), None)

    def for_suite(self, suite: str) -> str:
        """Return a deb822 source for another suite of the same mirror, trusted in the same way."""
        how = {name: value for name, value in self.fields.items() if name not in OWN_FIELDS}
        what = {"types": "deb", "uris": f"{self.uri}", "suites": suite, "components": "main", "targets": "Packages"}
        return "".join(f"{name}: {value}\n" for name, value in (what | how).items())


def parse_one_line(text: str) -> list[Source]:
    """Return the binary archives of a sources.list in the one-line form."""
    sources = []
    for line in text.splitlines():
        if (match := ONE_LINE.match(line.split("#", 1)[0].strip())) is None:
            continue
        fields = {"uris": match["uri"], "suites": match["suite"], "components": match["components"]}
        for option in (match["options"] or "").split():
            name, _, value = option.partition("=")
            fields[FIELD_OF_OPTION.get(name.lower(), name.lower())] = value.replace(",", " ")
        sources.append(Source(fields=fields))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Return the enabled binary archives of a .sources file."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stanzas = [_fields(stanza) for stanza in re.split(r"\n\s*\n", without_comments)]
    return [
        Source(fields=fields)
        for fields in stanzas
        if {"uris", "suites"} <= fields.keys()
        and "deb" in fields.get("types", "").split()
        and fields.get("enabled", "yes").lower() not in {"no", "false", "without", "off", "disable", "0"}
    ]


def choose_mirror(sources: Iterable[Source]) -> Source | None:
    """Return the first archive that a Debian release is installed from, or None."""
    return next((source for source in sources if source.offers_a_release), None)


def _fields(stanza: str) -> dict[str, str]:
    # A continuation line begins with a space and belongs to the value (an embedded key in Signed-By).
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in {" ", "\t"} and name:
            fields[name] += "\n" + line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
