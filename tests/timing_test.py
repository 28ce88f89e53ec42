#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one key computed is not found by the clock of another (CVE-2025-46570): probes of a prefix that another key has cached, turn by turn with
probes of one that nobody has. A rank test cannot tell the times apart; with one key it does, so the test could fail.

usage: tests/timing_test.py VIBEE MODEL [unittest arguments]
"""
import http.client
import json
import random
import sys
import tempfile
import time
import unittest

from served import Server

PAIRS, PREFIX = 220, 600  # tokens: their computing is what a probe could see


def area(a, b):
    """Chance that one of `a` is larger than one of `b`, ties half: the area under the ROC curve. Its standard error when they are alike."""
    ranks, at = {}, 0
    both = sorted(a + b)
    while at < len(both):
        end = at
        while end < len(both) and both[end] == both[at]:
            end += 1
        ranks[both[at]] = (at + 1 + end) / 2
        at = end
    u = sum(ranks[x] for x in a) - len(a) * (len(a) + 1) / 2
    return u / (len(a) * len(b)), ((len(a) + len(b) + 1) / (12 * len(a) * len(b))) ** 0.5


class Timing(unittest.TestCase):
    def times(self, server, warmer, prober, number):
        """Seconds of probes by `prober`: of prefixes that `warmer` has had computed, and of ones that nobody has."""
        connections = {}

        def ask(key, prompt):
            c = connections.setdefault(key, http.client.HTTPConnection("127.0.0.1", server.port, timeout=60))
            begun = time.perf_counter()
            c.request("POST", "/v1/completions", json.dumps({"prompt": prompt, "max_tokens": 1, "temperature": 0}), {"Authorization": "Bearer " + key})
            r = c.getresponse()
            r.read()
            self.assertEqual(r.status, 200)
            return time.perf_counter() - begun

        r = random.Random(number)
        cached, fresh = [], []
        for _ in range(PAIRS):
            mine, other = ([r.randrange(100, 300) for _ in range(PREFIX)] for _ in range(2))
            ask(warmer, mine + [100])
            ask(warmer, other[::-1] + [100])  # as much work before either probe
            for times, prompt in r.sample([(cached, mine), (fresh, other)], 2):
                times.append(ask(prober, prompt + [101]))
        for c in connections.values():
            c.close()
        return cached, fresh

    def test_the_clock_tells_nothing_of_another_key(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("ann infer key-of-ann\nbob infer key-of-bob\n")
            keys.flush()
            for index in ("radix", "hash"):
                s = Server("--ctx", "1024", "--batch", "4", "--prefix", index, "--api-keys", keys.name)
                try:
                    for number in range(4):  # one in 14 is beyond the bound by chance
                        across, error = area(*self.times(s, "key-of-ann", "key-of-bob", number))
                        if abs(across - 0.5) <= 0.05:
                            break
                    for number in range(9, 13):  # a busy machine hides what a quiet one shows
                        within, _ = area(*self.times(s, "key-of-bob", "key-of-bob", number))
                        if within < 0.5 - 6 * error:
                            break
                    print(f"--prefix {index}: area under the curve {across:.3f} across keys, {within:.3f} within one (0.5: alike; standard error {error:.3f})")
                    self.assertLessEqual(abs(across - 0.5), 0.05)
                    self.assertLess(within, 0.5 - 6 * error)
                finally:
                    self.assertEqual(s.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
