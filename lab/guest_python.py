"""What of this machine's Python a guest needs to run a program: modules, extension modules, shared libraries.

Finds out by importing: a child loads the program's modules and everything that those import in their functions, and
says which files that took. Modules are compiled here, because a guest without KVM compiles twenty times more slowly.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import marshal
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lab import cpio
from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parent.parent
AGENT = CHECKOUT / "agent" / "src"
SITE = Path(sysconfig.get_paths()["platlib"])
HOME = f"usr/lib/python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARIES = "lib"
# Text codecs that the interpreter looks for by name, at a moment of its own.
CODECS = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8")

# Argument 1: folders to search; argument 2: modules to import, with "?" where it does not matter when one cannot be.
PROBE = """
import importlib, json, sys
sys.path += json.loads(sys.argv[1])
for name in json.loads(sys.argv[2]):
    try:
        importlib.import_module(name.rstrip("?"))
    except ImportError:
        if not name.endswith("?"):
            raise
files = {}
for name, module in list(sys.modules.items()):
    # Not by __spec__: cryptography puts objects in place of some of its modules, and those have none.
    file = getattr(module, "__file__", None)
    if file and getattr(module, "__name__", "") == name:
        files[name] = [file, hasattr(module, "__path__")]
print(json.dumps(files))
"""


def entries(program: Path) -> Iterator[cpio.Entry]:
    """Yield the members of an image that can run `program` with python3; the agent and cryptography are in it."""
    interpreter = Path(sys.executable).resolve()
    yield cpio.program("usr/bin/python3", interpreter.read_bytes())
    # The interpreter knows its home by os.pyc, which every program loads, and by this folder.
    yield cpio.folder(f"{HOME}/lib-dynload")
    needing = [interpreter]
    for name, (origin, is_package) in sorted(_loaded(program).items()):
        path = f"{HOME}/{name.replace('.', '/')}"
        if origin.suffix == ".py":
            yield _compiled(f"{path}/__init__" if is_package else path, origin)
        else:
            needing.append(origin)
            where = path if "." in name else f"{HOME}/lib-dynload/{name}"
            yield cpio.file(where + ".so", origin.read_bytes())
    yield from libraries(needing)


def libraries(binaries: Iterable[Path]) -> Iterator[cpio.Entry]:
    """Yield the shared libraries that the dynamic linker takes for these binaries on this machine."""
    for name, path in sorted({pair for binary in binaries for pair in _linked(binary)}):
        yield cpio.program(name.lstrip("/") if "/" in name else f"{LIBRARIES}/{name}", path.read_bytes())


@cache
def _linked(binary: Path) -> tuple[tuple[str, Path], ...]:
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise LabError(f"ldd cannot list the libraries of {binary}: {listed.stderr.strip()}")
    found = []
    for line in listed.stdout.splitlines():
        words = line.split()
        if "=>" in words and words[2].startswith("/"):
            found.append((words[0], Path(words[2])))
        elif words[0].startswith("/"):  # the dynamic linker itself, whose path is in every program
            found.append((words[0], Path(words[0])))
        elif "=>" in words:
            raise LabError(f"{binary} needs {words[0]}, which is not on this machine")
    return tuple(found)


def _loaded(program: Path) -> dict[str, tuple[Path, bool]]:
    """Return module -> (its file, whether it is a package) for everything that the program may import."""
    agent = sorted(AGENT.glob("otscert_agent/**/*.py"))
    # cryptography's compiled half imports modules of the other half by name, when it needs them.
    crypto = sorted(SITE.glob("cryptography/**/*.py"))
    wanted = {*CODECS, *(_dotted(path, AGENT) for path in agent), *(_dotted(path, SITE) + "?" for path in crypto)}
    for path in (*agent, program):
        wanted |= set(_imports(path))
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROBE, json.dumps([str(AGENT), str(SITE)]), json.dumps(sorted(wanted))],
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        raise LabError(f"the guest's modules cannot be imported here:\n{child.stderr.strip()}")
    return {name: (Path(origin), package) for name, (origin, package) in json.loads(child.stdout).items()}


def _imports(source: Path) -> Iterator[str]:
    """Yield what a file imports, in its functions too; what may be a name in a module is marked as optional."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}?" for name in node.names)


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _compiled(path: str, source: Path) -> cpio.Entry:
    code = compile(source.read_bytes(), f"/{path}.py", "exec", dont_inherit=True)
    # PEP 552: magic number, flags (0b01: checked by hash, which is not looked at without a source), 8 bytes of hash.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    return cpio.file(f"{path}.pyc", head + marshal.dumps(code))
