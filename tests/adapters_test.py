#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters of vibee serve and vibee run as a client sees them: chosen by model, many at once, each with its own bytes.

usage: tests/adapters_test.py VIBEE MODEL [unittest arguments]
"""
import http.client
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

from lora_adapter import write_adapter
from served import MODEL, VIBEE, Server, joined


class Adapters(unittest.TestCase):
    def test_each_request_has_the_bytes_of_its_adapter(self):
        with tempfile.TemporaryDirectory() as folder:
            one, two = write_adapter(folder + "/one", 1), write_adapter(folder + "/two", 2, rank=16)
            body = {"prompt": "The colours of autumn in the northern woods are many, and of all of them", "max_tokens": 16, "temperature": 0, "ignore_eos": True, "logprobs": 1}
            plain = Server("--ctx", "256", "--batch", "4")
            wanted = {MODEL: plain.ask("/v1/completions", body)["choices"]}
            self.assertEqual(plain.stop(), 0)
            s = Server("--ctx", "256", "--batch", "4", "--lora", "one=" + one, "--lora", "two=" + two)
            try:
                names = [MODEL, MODEL + ":one", MODEL + ":two"]
                listed = json.loads(s.request("GET", "/v1/models").text)["data"]
                self.assertEqual([m["id"] for m in listed], names)
                self.assertEqual(json.loads(s.request("GET", "/v1/models/one").text), listed[1])
                self.assertEqual([m["parent"] for m in listed[1:]], [MODEL, MODEL])
                for name in names:
                    r = s.ask("/v1/completions", dict(body, model=name))
                    self.assertEqual((r["model"], r["usage"]["prompt_tokens_details"]["cached_tokens"]), (name, 0))  # nothing of another's
                    self.assertEqual(r["choices"], wanted.setdefault(name, r["choices"]))
                self.assertEqual(len({json.dumps(w) for w in wanted.values()}), 3)
                again = s.ask("/v1/completions", dict(body, model="two"))  # by its own name
                self.assertEqual((again["choices"], again["model"]), (wanted[names[2]], names[2]))
                self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
                self.assertEqual(len({m["system_fingerprint"] for m in listed}), 3)
                got = {}
                def ask(i):
                    got[i] = s.ask("/v1/completions", dict(body, model=names[i % 3], cache_salt=str(i)))["choices"]
                threads = [threading.Thread(target=ask, args=(i,)) for i in range(9)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
                self.assertEqual(got, {i: wanted[names[i % 3]] for i in range(9)})
                for name in ("three", MODEL + ":three", ":one", "one:one"):
                    self.assertEqual(s.ask("/v1/completions", dict(body, model=name), 404)["error"]["code"], "model_not_found")
            finally:
                self.assertEqual(s.stop(), 0)

    def test_loaded_and_unloaded_while_it_serves(self):
        with tempfile.TemporaryDirectory() as folder:
            root = folder + "/root"
            write_adapter(root + "/one", 1)
            write_adapter(root + "/two", 2)
            os.symlink(write_adapter(folder + "/outside", 3, layers=[0]), root + "/link")
            os.makedirs(root + "/half")
            os.symlink(folder + "/outside/adapter_model.safetensors", root + "/half/adapter_model.safetensors")
            shutil.copy(root + "/one/adapter_config.json", root + "/half")
            s = Server("--ctx", "1024", "--batch", "4", "--adapter-root", root, "--max-loras", "2")
            load = lambda name, path, status=200: s.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, status)
            unload = lambda status=200, **more: s.ask("/v1/unload_lora_adapter", {"lora_name": "a", **more}, status)
            body = {"model": "a", "prompt": "The colours of autumn", "max_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 1}
            try:
                for path in ("../outside", "/etc", folder + "/outside", "link", "half", "gone", ".", ""):
                    self.assertEqual(load("a", path, 404)["error"]["code"], "adapter_not_found", path)
                for name in ("", "a:b", "a b", MODEL):
                    self.assertEqual(load(name, "one", 400)["error"]["param"], "lora_name", name)
                unload(404)
                first = load("a", "one")
                self.assertEqual((first["id"], first["parent"]), (MODEL + ":a", MODEL))
                one = s.ask("/v1/completions", body)["choices"]
                long = http.client.HTTPConnection("127.0.0.1", s.port, timeout=120)
                long.request("POST", "/v1/completions", json.dumps(dict(body, max_tokens=900, stream=True)))
                answer = long.getresponse()  # its first token is there, its last comes much later
                self.assertEqual(unload(409)["error"]["code"], "adapter_in_use")
                self.assertNotEqual(load("a", "two")["digest"], first["digest"])  # a new generation: the long one keeps the old
                self.assertNotEqual(s.ask("/v1/completions", body)["choices"], one)
                lines = [l[6:] for l in answer.read().decode().split("\n") if l.startswith("data: {")]
                long.close()
                self.assertTrue(joined([json.loads(l) for l in lines])[0][0].startswith(one[0]["text"]))
                unload(drain=True)
                self.assertEqual(s.ask("/v1/completions", body, 404)["error"]["code"], "model_not_found")
                self.assertEqual(load("a", "one")["digest"], first["digest"])
                self.assertEqual(s.ask("/v1/completions", body)["choices"], one)
            finally:
                self.assertEqual(s.stop(), 0)

    def test_mistakes_are_told(self):
        with tempfile.TemporaryDirectory() as folder:
            one = write_adapter(folder + "/one", 1)
            for lora, text in (("one=" + folder, "adapter_config.json"), (one, "NAME=PATH"), ("a:b=" + one, "NAME=PATH"), ("big=" + write_adapter(folder + "/big", 3, 17, [0]), "--max-lora-rank")):
                r = subprocess.run([VIBEE, "serve", MODEL, "--port", "0", "--ctx", "256", "--lora", lora], capture_output=True, text=True, timeout=60)
                self.assertEqual(r.returncode, 1, r.stderr)
                self.assertIn(text, r.stderr.splitlines()[-1])

    def test_run(self):
        with tempfile.TemporaryDirectory() as folder:
            one = write_adapter(folder + "/one", 1)
            texts = []
            for arguments in ([], ["--lora", one], ["--lora", one + ":0"]):
                r = subprocess.run([VIBEE, "run", MODEL, "The colours of autumn", "--raw", "--greedy", "-n", "12", "--ignore-end", "--ctx", "128", "--quiet", *arguments],
                                   capture_output=True, text=True, timeout=60)
                self.assertEqual(r.returncode, 0, r.stderr)
                texts.append(r.stdout)
            self.assertEqual(texts[2], texts[0])  # nothing is added
            self.assertNotEqual(texts[1], texts[0])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
