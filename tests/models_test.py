#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several models of one vibee serve under one budget of memory.

usage: tests/models_test.py VIBEE MODEL [unittest arguments]
"""
import http.client
import json
import re
import subprocess
import sys
import threading
import unittest

from served import MODEL, VIBEE, Server


class Models(unittest.TestCase):
    def test_take_turns_in_a_budget(self):
        """Two models, memory for one: each is loaded in the other's place when it is asked for, and says the same again."""
        dry = subprocess.run([VIBEE, "serve", MODEL, "--ctx", "512", "--batch", "2", "--dry-run"], capture_output=True, text=True, check=True).stdout
        mib = sum(float(re.search(r"([0-9.]+)" + what, dry).group(1)) for what in (" MiB of weights", " of work", " of keys and values"))
        names = ("a", "b")
        s = Server("--ctx", "512", "--batch", "2", "--memory", str(int(1.5 * mib * 2**20)), models=[name + "=" + MODEL for name in names])
        try:
            states = lambda: [m["state"] for m in json.loads(s.request("GET", "/v1/models").text)["data"]]
            body = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}
            told = lambda name: s.ask("/v1/completions", {**body, "model": name})["choices"][0]["text"]
            self.assertEqual(states(), ["ready", "unloaded"])
            self.assertEqual(len({told(name) for name in ("a", "b", "a", "b")}), 1)
            self.assertEqual(states(), ["unloaded", "ready"])
            self.assertEqual(json.loads(s.request("GET", "/health").text)["models"][0], {"id": "a", "state": "unloaded"})
            self.assertEqual(s.request("GET", "/readyz").status, 200)
            self.assertEqual(s.request("GET", "/admin/config?model=a").status, 409)  # who looks loads nothing
            # An answer that nobody reads to its end keeps its model.
            reader = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
            reader.request("POST", "/v1/completions", json.dumps({**body, "model": "b", "max_tokens": 400, "ignore_eos": True, "stream": True}))
            answer = reader.getresponse()
            self.assertIn(b"data: ", answer.readline())
            self.assertEqual(s.ask("/admin/models/unload", {"model": "b"}, 409)["error"]["code"], "model_in_use")
            full = s.request("POST", "/v1/completions", {**body, "model": "a"})
            self.assertEqual((full.status, json.loads(full.text)["error"]["code"]), (503, "out_of_memory"))
            self.assertRegex(json.loads(full.text)["error"]["message"], "needs [0-9]+ MiB; of the [0-9]+ MiB for all models [0-9]+ are in use by b")
            self.assertIsNotNone(full.headers["Retry-After"])
            self.assertEqual(s.ask("/admin/models/unload", {"model": "b", "drain": True})["state"], "unloaded")
            self.assertTrue(answer.read().rstrip().endswith(b"data: [DONE]"))  # it ended before its model went
            reader.close()
            self.assertEqual(states(), ["unloaded", "unloaded"])
            self.assertEqual(s.ask("/admin/models/load", {"model": "a"})["state"], "ready")
            self.assertEqual(s.ask("/admin/models/load", {"model": "a"})["state"], "ready")
            self.assertEqual(s.ask("/admin/models/load", {"model": "c"}, 404)["error"]["code"], "model_not_found")
            self.assertEqual(s.ask("/admin/models/load", {}, 400)["error"]["param"], "model")
            page = s.request("GET", "/metrics").text.decode()
            self.assertIn('vibee_model_memory_bytes{model="b"} 0\n', page)
            self.assertIn('vibee_model_loads_total{model="b",outcome="ok"} 2\n', page)
            # Many at once for a model that is not there wait for one load; a client that leaves meanwhile costs nothing.
            left = http.client.HTTPConnection("127.0.0.1", s.port)
            left.request("POST", "/v1/completions", json.dumps({**body, "model": "b"}))
            left.close()
            got = [None] * 6
            def one(i):
                got[i] = told("b")
            threads = [threading.Thread(target=one, args=(i,)) for i in range(len(got))]
            [t.start() for t in threads]
            [t.join() for t in threads]
            self.assertEqual(len(set(got)), 1)
            self.assertIsNotNone(got[0])
            self.assertIn('vibee_model_loads_total{model="b",outcome="ok"} 3\n', s.request("GET", "/metrics").text.decode())
        finally:
            self.assertEqual(s.stop(), 0)

    def test_memory_that_is_too_small_is_refused_with_sizes(self):
        r = subprocess.run([VIBEE, "serve", MODEL, "--memory", "1000000"], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr, "needs [0-9]+ MiB .* 0 MiB are allowed by --memory")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
