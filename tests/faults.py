# SPDX-License-Identifier: Apache-2.0
"""Arms tests/fault_inject.cc in a process that was started with what environment() gives."""
import mmap
import os
import struct
import tempfile

ALLOC, OPEN, READ, WRITE, RECEIVE, SEND, ACCEPT, CLOCK = (1 << i for i in range(8))
PLAN = struct.Struct("<IIqqI20sqq")  # as struct Plan there
HTTP, ENGINE, DISK = "vibee", "vibee engine", "vibee disk"  # names of the server's threads


class Faults:
    def __init__(self, library):
        self.library = library
        self.file = tempfile.NamedTemporaryFile(suffix=".fault")
        self.file.write(bytes(PLAN.size))
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), PLAN.size)

    def environment(self):
        return {**os.environ, "LD_PRELOAD": self.library, "VIBEE_FAULT": self.file.name}

    def arm(self, kinds, first=1, count=1, thread="", halves=False):
        """From now on the calls first .. first + count - 1 of these kinds fail."""
        self.disarm()
        self.map[4:] = PLAN.pack(0, kinds, first, count, halves, thread.encode(), 0, 0)[4:]
        self.map[:4] = struct.pack("<I", 1)

    def fired(self):
        return PLAN.unpack(self.map[:])[7]

    def disarm(self):
        """How many calls there were, and how many of them failed."""
        self.map[:4] = bytes(4)
        return PLAN.unpack(self.map[:])[6:]
