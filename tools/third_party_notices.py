"""Write THIRD_PARTY_NOTICES.md: the licences of everything that a wheel's extension links in.

``--check`` compares instead of writing, and ends with status 1 when the file is out of date.
The texts come from the sources that cargo compiles, so the file cannot drift from Cargo.lock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "engine_rust" / "Cargo.toml"
NOTICES = ROOT / "THIRD_PARTY_NOTICES.md"
ASSETS = ROOT / "src" / "backtest_py" / "report" / "html" / "assets"
CHARTS = "lightweight-charts.standalone.production.js"

INTRODUCTION = """\
# Third-party notices

The extension module in the wheels of backtest-py links the Rust crates below. Where a crate is
offered under several licences, the MIT licence is the one used here. The Numba-only wheel links
nothing. Both wheels carry the chart library at the end, which reports hold. Written by
`make notices` from the sources of the versions in `engine_rust/Cargo.lock` and from the files
beside the library; a test keeps it so.
"""

# The toolchain's minimal profile does not carry this text, so it stands here.
STANDARD_LIBRARY = """\
## The Rust standard library

Licence: MIT OR Apache-2.0

```text
Copyright (c) The Rust Project Contributors

Permission is hereby granted, free of charge, to any
person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the
Software without restriction, including without
limitation the rights to use, copy, modify, merge,
publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice
shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF
ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A
PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT
SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION
OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE.
```
"""


def cargo_metadata() -> dict[str, Any]:
    """Return what cargo resolves for every platform, by the lock file alone."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    done = subprocess.run(  # noqa: S603
        [*command, "--manifest-path", str(MANIFEST)], check=True, stdout=subprocess.PIPE
    )
    return dict(json.loads(done.stdout))


def linked_packages(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the packages whose code ends in the extension, by name and version.

    Build and test dependencies are left out, and so are procedural macros with all that only
    they need: they run in the compiler.
    """
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen = {root}
    waiting = [root]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            identity = dependency["pkg"]
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and identity not in seen and not _is_macro(packages[identity]):
                seen.add(identity)
                waiting.append(identity)
    linked = [packages[identity] for identity in seen - {root}]
    return sorted(linked, key=lambda package: (package["name"], package["version"]))


def _is_macro(package: dict[str, Any]) -> bool:
    return any("proc-macro" in target["kind"] for target in package["targets"])


def licence_files(package: dict[str, Any]) -> list[Path]:
    """Return the licence files that bind us: MIT where it is offered, else all, and notices."""
    folder = Path(package["manifest_path"]).parent
    names = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
    found = sorted(path for path in folder.iterdir() if path.name.upper().startswith(names))
    mit = [path for path in found if "MIT" in path.name.upper()]
    if not mit or "MIT" not in str(package["license"]):
        return found
    others = ("APACHE", "ZLIB", "BOOST", "UNLICENSE")
    return [path for path in found if not any(name in path.name.upper() for name in others)]


def render(packages: list[dict[str, Any]]) -> str:
    """Return the text of THIRD_PARTY_NOTICES.md."""
    parts = [INTRODUCTION, STANDARD_LIBRARY]
    for package in packages:
        files = licence_files(package)
        if not files:
            raise SystemExit(
                f"{package['name']} {package['version']} ships no licence file; "
                "add its text to the tool, or choose another crate"
            )
        texts = [_fenced(path.read_text(encoding="utf-8")) for path in files]
        title = f"## {package['name']} {package['version']}\n\nLicence: {package['license']}\n"
        parts.append("\n".join([title, *texts]))
    return "\n".join([*parts, vendored()])


def vendored() -> str:
    """Return what the chart library asks for: its notice and its licence."""
    texts = [
        _fenced((ASSETS / f"lightweight-charts.{name}.txt").read_text(encoding="utf-8"))
        for name in ("NOTICE", "LICENSE")
    ]
    code = (ASSETS / CHARTS).read_text(encoding="utf-8")
    version = code.partition("Lightweight Charts™ v")[2].split()[0]
    title = f"## TradingView Lightweight Charts™ {version}\n\nLicence: Apache-2.0\n"
    return "\n".join([title, *texts])


def _fenced(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
    return f"```text\n{lines}\n```\n"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    options = parser.parse_args(arguments)
    text = render(linked_packages(cargo_metadata()))
    if not options.check:
        NOTICES.write_text(text, encoding="utf-8", newline="\n")
        return 0
    if NOTICES.is_file() and NOTICES.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{NOTICES.name} does not match engine_rust/Cargo.lock; run: make notices\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
