#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What was done to other servers of models, done to this one: refused, in bounded time and memory, and the next answer is right.

usage: tests/security_test.py VIBEE MODEL [unittest arguments]
docs/security_tests.md says which published vulnerability each of these is about, and where those of files are tested.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from served import MODEL, VIBEE, Server

TALK = [{"role": "user", "content": "Why?"}]
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Attacked(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--ctx", "256", "--batch", "4")
        cls.probe = {"prompt": "Once upon a time", "max_tokens": 5, "temperature": 0}
        cls.right = cls.server.ask(COMPLETIONS, cls.probe)["choices"]

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def resident(self):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))  # KiB

    def attack(self, path, body, statuses=(400,), seconds=15, method="POST", headers=None):
        """Its answer, after it was seen that the server has borne it."""
        before, begun = self.resident(), time.time()
        r = self.server.request(method, path, body, headers)
        self.assertLess(time.time() - begun, seconds)
        self.assertIn(r.status, statuses, r.text[:300])
        self.assertLess(self.resident() - before, 64 << 10, "KiB more")
        self.assertEqual(self.server.ask(COMPLETIONS, self.probe)["choices"], self.right)
        return r

    def test_numbers_of_requests(self):
        """CVE-2026-21869 (a negative n_discard), and every other number of a request at its ends."""
        for name in ("n_discard", "n_keep", "cache_tokens", "id_slot", "n_probs"):
            self.assertIn(name, self.attack(COMPLETIONS, {"prompt": "a", name: -1}).text.decode())
        for name in ("n", "best_of", "max_tokens", "logprobs", "top_k", "seed", "timeout_ms", "priority", "min_p", "top_p", "temperature", "typical_p",
                     "repetition_penalty", "presence_penalty", "frequency_penalty"):
            for value in (-1, -(1 << 31), -(1 << 63), 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 64, 1e308, -1e308, 0.5):
                self.attack(COMPLETIONS, {"prompt": "a", "max_tokens": 2, name: value}, (200, 400), seconds=60)
        for prompt in ([-1], [1 << 31], [320], [1 << 63], [[1], [-1]], [0.5], [[[1]]], [None], {"a": 1}, 5):
            self.attack(COMPLETIONS, {"prompt": prompt})
        self.attack(COMPLETIONS, {"prompt": "a", "logit_bias": {str(-1 << 63): 1}})

    def test_values_in_place_of_tokens(self):
        """CVE-2025-62164: tensors of the client's making never reach the model; there is no field for them."""
        for name in ("prompt_embeds", "input_embeds", "image_embeds"):
            self.attack(COMPLETIONS, {"prompt": "a", name: "gAJjdG9yY2guX3V0aWxz"})
        self.attack("/v1/embeddings", b"\x80\x04cos\nsystem\n(S'true'\ntR.", headers={"Content-Type": "application/x-pickle"})

    def test_tools_and_schemas(self):
        """CVE-2025-48944 (a pattern or type of a tool that its compiler cannot read ends the engine), CVE-2025-48942 and -48943."""
        for parameters in ({"type": "something", "properties": {}}, {"properties": {"a": {"type": "string", "pattern": "["}}}, {"type": ["object", 5]},
                           {"properties": {"a": {"type": "string", "pattern": "(a+)+$" * 40}}}, {"$ref": "#/nowhere"}, {"$ref": "#"},
                           {"properties": {"a": {"enum": list(range(40000))}}}, {"properties": {"a": {"maxLength": 10 ** 9, "type": "string"}}},
                           {"properties": {"a": {"type": "array", "minItems": 10 ** 9}}}, {"allOf": [{"$ref": "#"}]}):
            tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
            for choice in ("auto", "required"):
                self.attack(CHAT, {"messages": TALK, "max_tokens": 2, "tools": [tool], "tool_choice": choice}, (200, 400))
            self.attack(CHAT, {"messages": TALK, "max_tokens": 2, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": parameters}}},
                        (200, 400))
        deep = '{"properties":{"a":' * 3000 + "{}" + "}}" * 3000
        self.attack(CHAT, '{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": %s}}}' % deep)

    def test_patterns_and_grammars(self):
        """Patterns and grammars that explode when they are compiled or matched."""
        for kind, value in (("regex", "(a*)*" * 200 + "b"), ("regex", "(" * 50000), ("regex", "a{1000}{1000}{1000}"), ("regex", "((a{0,999}){0,999}){0,999}"),
                            ("regex", "(a|a)*" * 500), ("regex", "[" * 1000), ("regex", "\\p{L}{4000}"), ("gbnf", "root ::= root root"), ("gbnf", "root ::= \"a\"" * 20000),
                            ("gbnf", "root ::= x{1,100000}\nx ::= [a-z]"), ("gbnf", "root ::= " + "(" * 20000), ("gbnf", "root ::= nowhere")):
            self.attack(COMPLETIONS, {"prompt": "a", "max_tokens": 3, "grammar": {"type": kind, "value": value}}, (200, 400))

    def test_templates_of_the_client(self):
        """CVE-2026-5760, CVE-2024-34359 and the like: a request brings no template, and what it hands one is data."""
        evil = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(10**10) %}x{% endfor %}"
        self.attack(CHAT, {"messages": TALK, "chat_template": evil})
        said = json.loads(self.attack("/apply-template", {"messages": [{"role": "user", "content": evil}]}, (200,)).text)["prompt"]
        self.assertIn(evil, said)
        for kwargs in ({"messages": evil}, {"a": [evil] * 1000}, {"range": 5, "namespace": None}):
            self.attack(CHAT, {"messages": TALK, "max_tokens": 1, "chat_template_kwargs": kwargs}, (200, 400))

    def test_templates_of_a_model(self):
        """The same in the model's own template: no attribute leads to code, and loops come to an end."""
        for template in ("{{ ''.__class__.__mro__ }}", "{% for a in range(10000000000) %}x{% endfor %}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                         "{% set x = 'a' * 1000000000000 %}{{ x }}", "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
                         "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"):
            with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
                f.write(template)
                f.flush()
                begun = time.time()
                try:
                    s = Server("--ctx", "256", "--batch", "1", "--chat-template", f.name)
                except RuntimeError as e:  # it cannot even be read
                    self.assertIn("chat template", str(e))
                    continue
                answer = s.request("POST", "/apply-template", {"messages": TALK})
                self.assertEqual(answer.status, 400, (template, answer.text[:100]))
                self.assertLess(time.time() - begun, 30, template)
                self.assertEqual(s.stop(), 0)

    def test_what_is_not_text(self):
        """CVE-2026-22773, CVE-2026-22778 (images), and addresses that a server would fetch: parts other than text are refused unread."""
        for part in ({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}, {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
                     {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, {"type": "video_url", "video_url": {"url": "http://169.254.169.254/"}}):
            self.attack(CHAT, {"messages": [{"role": "user", "content": [part]}]})

    def test_routes_that_manage(self):
        """Routes by which others load files, weights and code from wherever a request says: there are none."""
        for path in ("/v1/load_lora_adapter", "/update_weights", "/update_weights_from_disk", "/collective_rpc", "/pause", "/sleep", "/api/pull", "/api/create",
                     "/slots/0?action=save", "/lora-adapters", "/props", "/models/load", "/start_profile", "/invocations", "/../../etc/passwd", "/ui/../../etc/passwd",
                     "/ui/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/models/..%2f..%2fetc%2fpasswd"):
            for method in ("GET", "POST"):
                r = self.attack(path, None if method == "GET" else {"path": "/etc/passwd", "model_path": "/etc/passwd"}, (400, 404, 405), method=method)
                self.assertNotIn(b"root:", r.text)

    def test_bodies_and_headers(self):
        """Deep, long and slow ones."""
        self.attack(COMPLETIONS, b'{"prompt": ' + b"[" * 200000 + b"]" * 200000 + b"}")
        with socket.create_connection(("127.0.0.1", self.server.port), 30) as s:  # refused before the body has come
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000000\r\n\r\n{")
            self.assertIn(b" 413 ", s.recv(4096))
        self.attack(COMPLETIONS, b'{"' + b"a" * 1000000 + b'": 1}')
        self.attack(COMPLETIONS, json.dumps({f"k{i}": i for i in range(50000)}), seconds=4)
        self.attack(COMPLETIONS, json.dumps({"x": [{f"k{i}": i for i in range(3000)} for _ in range(100)]}), seconds=4)
        self.attack("/livez", None, (431,), method="GET", headers={"X-Long": "a" * 60000})
        self.attack("/livez", None, (200, 431), method="GET", headers={f"X-{i}": "a" for i in range(90)})
        slow = [socket.create_connection(("127.0.0.1", self.server.port), 30) for _ in range(200)]
        for s in slow:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n{")
        self.attack("/livez", None, (200,), method="GET")
        for s in slow:
            s.close()

    def test_code_beside_a_model(self):
        """CVE-2026-22807 (auto_map), CVE-2025-32444 and others (pickles): a folder's code and pickles are not looked at."""
        with tempfile.TemporaryDirectory() as folder:
            trace = os.path.join(folder, "it-ran")
            code = f"open({trace!r}, 'w').close()\n"
            for name, text in (("config.json", json.dumps({"model_type": "llama", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}})),
                               ("evil.py", code), ("tokenizer.py", code), ("setup.py", code), ("__init__.py", code), ("pytorch_model.bin", "cos\nsystem\n(S'touch "
                                + trace + "'\ntR.")):
                with open(os.path.join(folder, name), "w") as f:
                    f.write(text)
            for arguments in (["run", folder, "hi"], ["serve", folder, "--port", "1"], ["convert", folder, os.path.join(folder, "out.gguf")], ["show", folder]):
                r = subprocess.run([VIBEE, *arguments], capture_output=True, text=True, timeout=60)
                self.assertEqual((r.returncode, r.stderr.count("\n")), (1, 1), r.stderr)
            self.assertFalse(os.path.exists(trace))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
