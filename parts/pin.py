"""Writes `pins.toml` anew from the mirror's signed indexes: `python3 -m parts.pin`. Standard library only."""

from __future__ import annotations

import sys

from parts.apt import open_suite
from parts.catalog import CHECKOUT, STORE, PartError, unpacked_parts

HEAD = "# Version and SHA-256 of every .deb that parts.toml names. Written by `make pins`; look at the difference.\n"


def main() -> int:
    STORE.mkdir(exist_ok=True)
    wanted: dict[tuple[str, str], set[str]] = {}
    for part in unpacked_parts().values():
        for architecture in part.architectures:
            wanted.setdefault((part.suite, architecture), set()).update((part.package, *part.libraries))
    text = HEAD
    try:
        for (suite, architecture), packages in sorted(wanted.items()):
            text += f"\n[{suite}-{architecture}]\n" + _lines(suite, architecture, packages)
    except PartError as error:
        print(f"pins: {error}", file=sys.stderr)
        return 1
    (CHECKOUT / "parts" / "pins.toml").write_text(text)
    return 0


def _lines(suite: str, architecture: str, packages: set[str]) -> str:
    available = open_suite(suite, architecture=architecture).available(sorted(packages))
    lines = []
    for package, listed in available.items():
        if not listed:
            raise PartError(f"{suite} has no {package} for {architecture}")
        newest = listed[0]
        lines.append(f'"{package}" = {{ version = "{newest.version}", sha256 = "{newest.sha256}" }}\n')
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
