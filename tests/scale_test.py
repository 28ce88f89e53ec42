#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A thousand idle connections and 256 streams at once: within the memory that --dry-run states, and fair to each other.

usage: tests/scale_test.py VIBEE MODEL [CONTEXT]
CONTEXT positions are filled by each of the streams: 96, more for a model that is fast.
"""
import json
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
import unittest

from served import MODEL, VIBEE, Server

IDLE, STREAMS, CONTEXT = 1000, 256, int((sys.argv[3:] or [96])[0])
SETTINGS = ("--ctx", str(CONTEXT), "--batch", str(STREAMS), "--queue", "16", "--prefix", "off")


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmRSS"))


def stated():
    """Bytes of weights, work, keys and values that the server says it will take."""
    said = subprocess.run([VIBEE, "serve", MODEL, *SETTINGS, "--dry-run"], capture_output=True, text=True, check=True).stdout
    weights, work, pages = re.search(r"([\d.]+) MiB of weights, ([\d.]+) of work, ([\d.]+) of keys and values", said).groups()
    return int((float(weights) + float(work) + float(pages)) * (1 << 20))


class Scale(unittest.TestCase):
    def connect(self, text):
        s = socket.create_connection(("127.0.0.1", self.server.port), 60)
        s.sendall(text.encode())
        return s

    def test_idle_connections_and_streams(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
        self.server = Server(*SETTINGS)
        pid = self.server.process.pid
        self.server.request("GET", "/livez")
        before = resident(pid)
        idle = []
        for _ in range(IDLE):
            s = self.connect("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(4096))
            idle.append(s)
        each = (resident(pid) - before) / IDLE
        print(f"{IDLE} idle connections: {each / 1024:.1f} KiB of the server each")
        self.assertLess(each, 16 << 10)

        begun = time.time()
        selector, got = selectors.DefaultSelector(), {}
        for i in range(STREAMS):
            body = json.dumps({"prompt": [100 + i // 16, 100 + i % 16], "max_tokens": CONTEXT - 2, "stream": True, "ignore_eos": True, "seed": i,
                               "return_token_ids": True})
            s = self.connect(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            s.setblocking(False)
            selector.register(s, selectors.EVENT_READ)
            got[s] = bytearray()
        open_streams, fairest, first_all, looked = set(got), None, None, 0
        while open_streams:
            self.assertLess(time.time() - begun, 400)
            for key, _ in selector.select(1):
                s = key.fileobj
                more = s.recv(1 << 16)
                got[s] += more
                if not more or got[s].endswith(b"0\r\n\r\n"):
                    selector.unregister(s)
                    open_streams.discard(s)
            now = time.time()
            if fairest is None and now > looked + 0.1:
                looked, counts = now, [text.count(b"token_ids") for text in got.values()]
                if first_all is None and min(counts) > 0:
                    first_all = counts
                if len(open_streams) == STREAMS:
                    last_all = counts
                elif first_all:
                    fairest = [b - a for a, b in zip(first_all, last_all)]  # from when all ran to when all still ran
        if fairest is None:  # the last of them ended together, between two looks
            fairest = [b - a for a, b in zip(first_all, last_all)]
        took = time.time() - begun
        self.assertIsNone(self.server.process.poll(), self.server.said())
        most = resident(pid)
        plan = stated()
        print(f"{STREAMS} streams of {CONTEXT - 2} tokens in {took:.1f} s, {STREAMS * (CONTEXT - 2) / took:.0f} tokens/s; "
              f"resident {most / 1e6:.1f} MB, stated {plan / 1e6:.1f} MB; tokens a stream while all ran: {min(fairest)} to {max(fairest)}")
        for text in got.values():
            self.assertIn(b"[DONE]", text)
            self.assertEqual(text.count(b'"finish_reason": "length"'), 1)
        # The server gives each the same; a client that reads 256 of them on a busy machine sees some later than others.
        self.assertGreater(min(fairest), 10)
        self.assertLessEqual(max(fairest), min(fairest) * 1.1 + 1)
        # What is stated is what grows; the program itself, its tokenizer and its connections are beside it.
        self.assertLess(most, 1.01 * plan + IDLE * (16 << 10) + (48 << 20))
        for s in idle[::100]:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(4096))
        for s in idle + list(got):
            s.close()
        self.assertEqual(self.server.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
