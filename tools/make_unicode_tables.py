#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/vibee/model/token/unicode_tables.inc: case mappings and printability as Python's str has them.

tools/make_unicode_tables.py > src/vibee/model/token/unicode_tables.inc
"""

import sys
import unicodedata

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def case_ranges(single):
    """(first, last, stride, delta) rows of the mappings to one code point."""
    rows = []
    for c in sorted(single):
        delta = single[c] - c
        if rows and rows[-1][3] == delta:
            first, last, stride, _ = rows[-1]
            if last == first and c - last <= 2:
                rows[-1] = (first, c, c - last, delta)
                continue
            if last != first and c - last == stride:
                rows[-1] = (first, c, stride, delta)
                continue
        rows.append((c, c, 1, delta))
    return rows


def emit(name, rows, per_line):
    print(f"constexpr {name}[] = {{")
    for i in range(0, len(rows), per_line):
        print("    " + " ".join("{" + ", ".join(r) + "}," for r in rows[i : i + per_line]))
    print("};")


def main():
    print("// SPDX-License-Identifier: Apache-2.0")
    print(f"// Made by tools/make_unicode_tables.py from Unicode {unicodedata.unidata_version}; do not edit.")
    several = {}
    for name, convert in (("kUpper", str.upper), ("kLower", str.lower), ("kTitle", str.title)):
        single = {}
        for c in CODES:
            mapped = convert(chr(c))
            if len(mapped) > 1:
                several.setdefault(name, []).append((c, [ord(m) for m in mapped]))
            elif mapped != chr(c):
                single[c] = ord(mapped)
        rows = [(hex(a), hex(b), str(s), str(d)) for a, b, s, d in case_ranges(single)]
        emit(f"CaseRange {name}", rows, 4)
    for name in ("kUpper", "kLower", "kTitle"):
        rows = [(hex(c), "{" + ", ".join(hex(m) for m in (ms + [0, 0])[:3]) + "}") for c, ms in several.get(name, [])]
        emit(f"CaseSpecial {name}Special", rows, 4)
    ranges, start = [], None
    for c in range(0x110001):
        bad = c < 0x110000 and not chr(c).isprintable()
        if bad and start is None:
            start = c
        if not bad and start is not None:
            ranges.append((hex(start), hex(c - 1)))
            start = None
    emit("CodeRange kNotPrintable", ranges, 6)


if __name__ == "__main__":
    sys.exit(main())
