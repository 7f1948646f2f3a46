#!/usr/bin/env python3
"""Checks the rules that keep src/ in layers (docs/architecture.md).

Usage: layers_test.py REPOSITORY
  * an #include "..." names a file of a layer that the including file's layer may use;
  * no source file is longer than 450 lines;
  * no file of the repository mentions a folder of some developer's machine.
"""

import os
import re
import sys

# Folder: the folders whose headers its files may include (as the gptq_layer calls in CMakeLists.txt).
BELOW = ["base", "io", "text", "compute", "quant", "model"]
MAY_INCLUDE = {
    "base": ["base"],
    "io": ["base", "io"],
    "text": ["base", "text"],
    "compute": ["base", "compute"],
    "quant": ["base", "io", "compute", "quant"],
    "model": ["base", "io", "text", "compute", "model"],
    "workflow": BELOW + ["workflow"],
    "report": ["base", "report"],
    "cli": BELOW + ["workflow", "report", "cli"],
    "library": BELOW + ["workflow"],
}
MOST_LINES = 450
SOURCE = (".cpp", ".h")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]*)"')
# In pieces, so that this file does not mention them either.
MACHINE_FOLDER = re.compile(r"(?<![\w.~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "fa" + "rm"]) + r")/")
SKIPPED = {".git", ".cache", ".ccache", "__pycache__", "Testing"}


def files_below(folder):
    """Paths of the project's own files; build folders (with a CMakeCache.txt) are not ours."""
    for path, folders, files in os.walk(folder):
        if "CMakeCache.txt" in files:
            folders.clear()
            continue
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("build"))
        for file in sorted(f for f in files if f not in SKIPPED):  # .git is a file in a worktree
            yield os.path.join(path, file)


def include_errors(source, path, text):
    layer = path.split("/")[0]
    if "/" not in path or layer not in MAY_INCLUDE:
        yield f"src/{path}: no layer has this folder; add it to CMakeLists.txt and to MAY_INCLUDE here"
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        included = match.group(1)
        where = f'src/{path}:{number}: "{included}"'
        if ".." in included.split("/") or "/" not in included:
            yield f"{where} is not written from src/"
        elif included.split("/")[0] not in MAY_INCLUDE[layer]:
            yield f"{where} is out of bounds: {layer} may use {', '.join(MAY_INCLUDE[layer])}"
        elif not os.path.isfile(os.path.join(source, included)):
            yield f"{where} does not exist"


def source_errors(repository):
    source = os.path.join(repository, "src")
    count = 0
    for file in files_below(source):
        if not file.endswith(SOURCE):
            continue
        count += 1
        path = os.path.relpath(file, source).replace(os.sep, "/")
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
        yield from include_errors(source, path, text)
        lines = text.count("\n")
        if lines > MOST_LINES:
            yield f"src/{path}: {lines} lines; split what is longer than {MOST_LINES}"
    if count == 0:
        yield f"{source}: no source files"


def machine_errors(repository):
    for file in files_below(repository):
        if os.path.islink(file) or os.path.getsize(file) > 4 << 20:
            continue
        with open(file, "rb") as stream:
            data = stream.read()
        if b"\0" in data:
            continue  # not text
        for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
            if MACHINE_FOLDER.search(line):
                yield f"{os.path.relpath(file, repository)}:{number}: names a folder of one machine: {line.strip()[:100]}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    errors = list(source_errors(sys.argv[1])) + list(machine_errors(sys.argv[1]))
    print("\n".join(errors) if errors else "the layers hold")
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
