#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the corpus of page_log_fuzz: segments of pages of 64 bytes as src/vibee/serve/kvcache/page_record.cc reads them.

usage: tools/make_page_log_seeds.py [FOLDER]
"""
import pathlib
import struct
import sys
import zlib

BLOCK, PAGE, ROOT = 4096, 64, bytes([1, 2, 3] + [0] * 13)


def summed(head: bytes) -> bytes:
    return head + struct.pack("<I", zlib.crc32(head))


def segment_head(root: bytes = ROOT, label: bytes = b"a model") -> bytes:
    return summed(struct.pack("<8sQ16s92s", b"VIBEEKV1", PAGE, root, label)).ljust(BLOCK, b"\0")


def record(i: int, root: bytes = ROOT) -> bytes:
    page = bytes((i + k) % 256 for k in range(PAGE))
    head = struct.pack("<8sQ16s16s16s16iI", b"KVPAGE01", PAGE, root, bytes([i] * 16), bytes(16), *[7] * 16, zlib.crc32(page))
    return (summed(head) + page).ljust(BLOCK, b"\0")


def main() -> None:
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "fuzz/page_log_fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    broken = bytearray(record(2))
    broken[20] ^= 4
    seeds = {
        "empty": segment_head(),
        "two": segment_head() + record(1) + record(2).rstrip(b"\0"),
        "broken": segment_head() + bytes(broken) + record(3)[:250],
        "torn": segment_head() + record(1)[:150],
        "foreign": segment_head(bytes(16), b"another\nmodel") + record(1)[:220],
    }
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
