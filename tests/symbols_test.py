#!/usr/bin/env python3
"""Checks that code compiled for one instruction set stays where the selector keeps it.

Usage: symbols_test.py NM SOURCE_FOLDER ARCHIVE...

An inline function or a template that a file named *_avx2.cpp, *_avx512.cpp, *_avx512vnni.cpp or *_amx.cpp emits as a weak symbol could be the copy
that the linker keeps for the whole program, which then stops on older processors. So these objects may define nothing
that others can see but the pointer to their table, such as kVectorKernels_avx2.
"""

import os
import re
import subprocess
import sys

ISA_SOURCE = re.compile(r".*_(avx2|avx512|avx512vnni|amx)\.cpp$")
# Kinds of nm that are visible outside: everything upper-case, and the weak and unique ones in any case.
VISIBLE = re.compile(r"[A-TV-Zuvw]")


def defined_symbols(nm, archive):
    """Yields (object, kind, name)."""
    output = subprocess.run([nm, "--defined-only", archive], check=True, capture_output=True, text=True).stdout
    member = None
    for line in output.splitlines():
        if line.endswith(":"):
            member = os.path.basename(line[:-1])
        elif line.strip():
            kind, name = line.split()[-2:]
            yield member, kind, name


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    nm, source, archives = sys.argv[1], sys.argv[2], sys.argv[3:]
    wanted = {file for _, _, files in os.walk(source) for file in files if ISA_SOURCE.match(file)}
    errors, seen = [], set()
    for archive in archives:
        for member, kind, name in defined_symbols(nm, archive):
            match = ISA_SOURCE.match(re.sub(r"\.(o|obj)$", "", member))
            if not match:
                continue
            seen.add(re.sub(r"\.(o|obj)$", "", member))
            is_table = kind in "DRB" and re.search(rf"k[A-Z]\w*_{match.group(1)}E?$", name)
            if VISIBLE.match(kind) and not is_table:
                errors.append(f"{member}: '{name}' of kind {kind} is visible to the whole program")
    errors += [f"{file}: in none of the archives, or defines nothing" for file in sorted(wanted - seen)]
    print("\n".join(errors) if errors else "only the tables are visible: " + ", ".join(sorted(seen)))
    sys.exit(1 if errors else 0)


if __name__ == "__main__":
    main()
