#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vibee serve as a client sees it: every route and field, streamed and plain, refusals, keys, faults of clients, signals.

usage: tests/server_test.py VIBEE MODEL [unittest arguments]
Relations stand in place of texts that a model would have to give: streamed = plain, same seed = same text, n tokens counted.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

VIBEE, MODEL = sys.argv[1:3]
TALK = [{"role": "user", "content": "Why is the sky blue?"}]
FIELDS = os.path.join(os.path.dirname(__file__), "../src/vibee/app/server/fields.inc")
ROUTES = os.path.join(os.path.dirname(__file__), "../src/vibee/app/server/routes.inc")


def read(path):
    with open(path) as file:
        return file.read()


class Server:
    """A server of its own on a free port; ready when made."""

    def __init__(self, *arguments, models=(MODEL,), wait=True, env=None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([VIBEE, "serve", *models, "--port", str(self.port), "--policy", "chunked", *arguments],
                                        stderr=self.log, stdout=self.log, env=env)
        if wait:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", self.port), 1).close()
                    if "ready" in self.said():
                        return
                except OSError:
                    pass
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
            raise RuntimeError("the server did not start: " + self.said())

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def stop(self, sig=signal.SIGTERM, timeout=30):
        self.process.send_signal(sig)
        status = self.process.wait(timeout)
        self.log.close()
        return status

    def request(self, method, path, body=None, headers=None, key=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        h = dict(headers or {})
        if key:
            h["Authorization"] = "Bearer " + key
        c.request(method, path, body if isinstance(body, (bytes, str, type(None))) else json.dumps(body), h)
        r = c.getresponse()
        r.text = r.read()
        c.close()
        return r

    def ask(self, path, body, status=200, **more):
        r = self.request("POST", path, body, **more)
        assert r.status == status, (r.status, r.text[:500])
        return json.loads(r.text)

    def events(self, path, body):
        """The events of a stream, and whether it ended with [DONE]."""
        r = self.request("POST", path, {**body, "stream": True})
        assert r.status == 200 and r.headers["Content-Type"] == "text/event-stream", (r.status, r.text)
        lines = [line[6:] for line in r.text.decode().split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"], bool(lines) and lines[-1] == "[DONE]"


def joined(events):
    """Choices of a stream put together: index -> (text, finish reason)."""
    out = {}
    for e in events:
        for c in e["choices"]:
            text, finish = out.get(c["index"], ("", None))
            assert finish is None, "an event after the last"
            piece = c["text"] if "text" in c else c["delta"].get("content") or ""
            out[c["index"]] = (text + piece, c["finish_reason"])
    return out


class Open(unittest.TestCase):
    """One server for all of these; each leaves it as it was."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--ctx", "512", "--batch", "8", "--queue", "40")

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def ask(self, *a, **k):
        return self.server.ask(*a, **k)

    def refused(self, path, body, status, code, param=None):
        error = self.ask(path, body, status)["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual((error["code"], error["param"]), (code, param), error)
        return error["message"]

    def test_models(self):
        listed = json.loads(self.server.request("GET", "/v1/models").text)
        self.assertEqual([m["id"] for m in listed["data"]], [MODEL])
        one = json.loads(self.server.request("GET", "/v1/models/" + MODEL).text)
        self.assertEqual(one, listed["data"][0])
        self.assertEqual(self.server.request("GET", "/v1/models/other").status, 404)
        self.refused("/v1/chat/completions", {"model": "other", "messages": TALK}, 404, "model_not_found", "model")

    def test_streamed_is_plain(self):
        for body in ({"max_tokens": 20, "temperature": 0}, {"max_tokens": 12, "seed": 7}, {"max_tokens": 9, "seed": 3, "n": 3},
                     {"max_tokens": 40, "temperature": 0, "stop": [" the", "light"]}):
            for path, more in (("/v1/chat/completions", {"messages": TALK}), ("/v1/completions", {"prompt": "Once upon a time"})):
                plain = self.ask(path, {**body, **more})
                events, done = self.server.events(path, {**body, **more, "stream_options": {"include_usage": True}})
                self.assertTrue(done)
                text = {c["index"]: (c["text"] if "text" in c else c["message"]["content"], c["finish_reason"]) for c in plain["choices"]}
                self.assertEqual(joined(events), text)
                self.assertEqual(events[-1]["choices"], [])
                for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
                    self.assertEqual(events[-1]["usage"][key], plain["usage"][key])
                self.assertLessEqual(plain["usage"]["completion_tokens"], body["max_tokens"] * body.get("n", 1))

    def test_first_event_has_role_and_text(self):
        events, _ = self.server.events("/v1/chat/completions", {"messages": TALK, "max_tokens": 3, "temperature": 0})
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertTrue(events[0]["choices"][0]["delta"]["content"])
        self.assertTrue(all("role" not in e["choices"][0]["delta"] for e in events[1:]))

    def test_same_request_same_bytes(self):
        body = {"prompt": "The colours of autumn are", "max_tokens": 24, "seed": 11, "logprobs": 2, "temperature": 1.3}
        alone = self.ask("/v1/completions", body)["choices"]
        got = [None] * 24
        def one(i):
            got[i] = self.ask("/v1/completions", {**body, "cache_salt": str(i % 3)} if i % 2 else {**body, "prompt": body["prompt"] + " red" * (i // 2)})
        threads = [threading.Thread(target=one, args=(i,)) for i in range(24)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        for i in range(1, 24, 2):
            self.assertEqual(got[i]["choices"], alone)
        self.assertEqual(got[0]["choices"], alone)

    def test_seed_is_told(self):
        r = self.server.request("POST", "/v1/completions", {"prompt": "A", "max_tokens": 8})
        again = self.ask("/v1/completions", {"prompt": "A", "max_tokens": 8, "seed": int(r.headers["x-vibee-seed"])})
        self.assertEqual(json.loads(r.text)["choices"], again["choices"])

    def test_stop(self):
        whole = self.ask("/v1/completions", {"prompt": "One, two, three,", "max_tokens": 30, "temperature": 0})["choices"][0]["text"]
        stop = whole.split()[3]
        cut = self.ask("/v1/completions", {"prompt": "One, two, three,", "max_tokens": 30, "temperature": 0, "stop": stop})["choices"][0]
        self.assertEqual((cut["text"], cut["finish_reason"]), (whole[:whole.index(stop)], "stop"))

    def test_logprobs(self):
        body = {"max_tokens": 5, "temperature": 0}
        c = self.ask("/v1/chat/completions", {**body, "messages": TALK, "logprobs": True, "top_logprobs": 3})["choices"][0]
        content = c["logprobs"]["content"]
        self.assertEqual(len(content), 5)
        self.assertEqual("".join(t["token"] for t in content), c["message"]["content"])
        for t in content:
            self.assertEqual(len(t["top_logprobs"]), 3)
            self.assertEqual(t["top_logprobs"][0]["token"], t["token"])  # greedy
            self.assertEqual(bytes(t["bytes"]).decode(), t["token"])
            self.assertLessEqual(t["logprob"], 0)
        c = self.ask("/v1/completions", {**body, "prompt": "Once", "logprobs": 0})["choices"][0]["logprobs"]
        self.assertEqual((len(c["tokens"]), c["top_logprobs"][0]), (5, {}))

    def test_echo_scores_the_prompt(self):
        prompt = "The capital of France is Paris"
        c = self.ask("/v1/completions", {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 1})
        choice = c["choices"][0]
        self.assertEqual((choice["text"], c["usage"]["completion_tokens"]), (prompt, 0))
        lp = choice["logprobs"]
        self.assertIsNone(lp["token_logprobs"][0])
        self.assertEqual("".join(lp["tokens"]), prompt)
        self.assertEqual([prompt[o:o + len(t)] for o, t in zip(lp["text_offset"], lp["tokens"])], lp["tokens"])
        # What was generated has the log-probabilities that it has as a prompt.
        made = self.ask("/v1/completions", {"prompt": prompt, "max_tokens": 6, "logprobs": 1, "temperature": 0, "echo": True})["choices"][0]
        ids = self.ask("/tokenize", {"content": prompt})["tokens"]
        again = self.ask("/v1/completions", {"prompt": made["text"], "max_tokens": 0, "echo": True, "logprobs": 1})["choices"][0]["logprobs"]
        if self.ask("/tokenize", {"content": made["text"]})["tokens"][:len(ids)] == ids and len(again["tokens"]) == len(made["logprobs"]["tokens"]):
            self.assertEqual(again["token_logprobs"], made["logprobs"]["token_logprobs"])
        long = self.ask("/v1/completions", {"prompt": list(range(100, 400)), "max_tokens": 1, "echo": True, "logprobs": 0})["choices"][0]
        self.assertEqual(len(long["logprobs"]["tokens"]), 301)
        events, _ = self.server.events("/v1/completions", {"prompt": prompt, "max_tokens": 6, "logprobs": 1, "temperature": 0, "echo": True})
        parts = [e["choices"][0]["logprobs"] for e in events]
        self.assertEqual({k: sum((p[k] for p in parts), []) for k in made["logprobs"]}, made["logprobs"])

    def test_prompts_of_all_kinds(self):
        ids = self.ask("/tokenize", {"content": "Hello world"})["tokens"]
        body = {"max_tokens": 4, "temperature": 0}
        one = self.ask("/v1/completions", {**body, "prompt": "Hello world"})["choices"][0]["text"]
        self.assertEqual(self.ask("/v1/completions", {**body, "prompt": ids})["choices"][0]["text"], one)
        many = self.ask("/v1/completions", {**body, "prompt": ["Hello world", "Bye"], "n": 2})["choices"]
        self.assertEqual([c["index"] for c in many], [0, 1, 2, 3])
        self.assertEqual([c["text"] for c in many[:2]], [one, one])
        self.assertEqual(self.ask("/v1/completions", {**body, "prompt": [ids, ids[:1]]})["choices"][0]["text"], one)
        best = self.ask("/v1/completions", {"prompt": "Hello", "max_tokens": 4, "best_of": 4, "n": 2, "seed": 1})
        self.assertEqual((len(best["choices"]), best["usage"]["completion_tokens"]), (2, 16))

    def test_long_prompts_are_refused_with_their_length(self):
        message = self.refused("/v1/completions", {"prompt": "word " * 600}, 400, "context_length_exceeded", "prompt")
        self.assertRegex(message, r"\d+ tokens.*512")
        self.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 600}]}, 400, "context_length_exceeded", "messages")
        cut = self.ask("/v1/completions", {"prompt": list(range(100, 600)), "max_tokens": 64, "ignore_eos": True})
        self.assertEqual((cut["choices"][0]["finish_reason"], cut["usage"]["completion_tokens"]), ("length", 12))

    def test_grammars(self):
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
                  "required": ["name", "age"], "additionalProperties": False}
        for seed in range(4):
            body = {"messages": TALK, "max_tokens": 64, "seed": seed, "temperature": 2,
                    "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}}
            c = self.ask("/v1/chat/completions", body)["choices"][0]
            value = json.loads(c["message"]["content"])
            self.assertEqual((set(value), c["finish_reason"]), ({"name", "age"}, "stop"))
            self.assertEqual(joined(self.server.events("/v1/chat/completions", body)[0])[0], (c["message"]["content"], "stop"))
        thing = self.ask("/v1/chat/completions", {"messages": TALK, "max_tokens": 300, "temperature": 0, "response_format": {"type": "json_object"}})["choices"][0]
        if thing["finish_reason"] == "stop":  # "length": the model did not come to an end
            self.assertIsInstance(json.loads(thing["message"]["content"]), dict)
        year = self.ask("/v1/completions", {"prompt": "In the year", "max_tokens": 20, "grammar": {"type": "regex", "value": "[12][0-9]{3}"}})["choices"][0]
        self.assertRegex(year["text"], r"^[12]\d{3}$")
        yes = self.ask("/v1/completions", {"prompt": "Well,", "max_tokens": 9, "grammar": {"type": "gbnf", "value": 'root ::= "yes" | "no"'}})["choices"][0]
        self.assertIn(yes["text"], ("yes", "no"))
        bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {"not": {}}}}}}
        self.assertIn("/properties/a/not", self.refused("/v1/chat/completions", {"messages": TALK, "response_format": bad}, 400, "unsupported_grammar", "response_format"))
        self.refused("/v1/completions", {"prompt": "a", "grammar": {"type": "regex", "value": "("}}, 400, "invalid_grammar", "grammar")

    def test_every_field_works_or_is_refused(self):
        """A value of each field of the tables: it is effective, or the refusal names it."""
        good = {"messages": TALK, "prompt": "a", "model": MODEL, "max_tokens": 2, "max_completion_tokens": 2, "n": 1, "stream": False, "stop": "x", "seed": 1,
                "temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.1, "logit_bias": {"5": 1}, "best_of": 1, "echo": False,
                "response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "parallel_tool_calls": True, "service_tier": "default",
                "prompt_cache_key": "k", "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "modalities": ["text"], "chat_template_kwargs": {"a": 1},
                "top_k": 5, "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1, "ignore_eos": False, "priority": 1, "cache_salt": "s", "timeout_ms": 60000,
                "return_token_ids": True, "vibee": {"timings": True}, "grammar": {"type": "regex", "value": "a+"}}
        both = {"chat": {"logprobs": True, "top_logprobs": 1}, "completions": {"logprobs": 1}}
        stream_only = {"stream_options": {"include_usage": True}}
        for route, name, types, use in re.findall(r'^VIBEE_FIELD\((\w+), (\w+), "([^"]+)", (\w+),', read(FIELDS), re.M):
            for target in ("chat", "completions") if route == "generate" else (route,):
                if target not in both:
                    continue
                path = "/v1/chat/completions" if target == "chat" else "/v1/completions"
                base = {"messages": TALK} if target == "chat" else {"prompt": "a"}
                base["max_tokens"] = 2
                with self.subTest(route=target, field=name):
                    if use == "refused":
                        value = {"string": "x", "object": {}, "array": [], "boolean": True, "integer": 1}[types.split("|")[0]]
                        self.refused(path, {**base, name: value}, 400, "unsupported_field", name)
                        continue
                    if name in ("reasoning_effort", "verbosity"):  # this model's template reads neither
                        self.refused(path, {**base, name: "low"}, 400, "unsupported_field", name)
                        continue
                    if name in stream_only:
                        self.server.events(path, {**base, **stream_only})
                        self.refused(path, {**base, **stream_only}, 400, "invalid_value", name)
                    elif name in ("logprobs", "top_logprobs"):
                        self.ask(path, {**base, **both[target]})
                    else:
                        self.ask(path, {**base, name: good[name]})
                    wrong = {"x": 1} if "object" not in types else 5
                    if name == "seed":
                        wrong = "x"
                    self.refused(path, {**base, name: wrong}, 400, "invalid_type", name)
        self.assertIn("max_tokens", self.refused("/v1/completions", {"prompt": "a", "max_token": 3}, 400, "unknown_field", "max_token"))

    def test_bad_values(self):
        for body, param in (({"temperature": 3}, "temperature"), ({"top_p": -1}, "top_p"), ({"n": 0}, "n"), ({"n": 1000}, "n"), ({"max_tokens": -1}, "max_tokens"),
                            ({"max_tokens": 1.5}, "max_tokens"), ({"stop": ["a"] * 17}, "stop"), ({"stop": [""]}, "stop"), ({"logit_bias": {"x": 1}}, "logit_bias.x"),
                            ({"logit_bias": {"99999999": 1}}, "logit_bias.99999999"), ({"logit_bias": {"5": 1000}}, "logit_bias.5"), ({"logprobs": 21}, "logprobs"),
                            ({"prompt": [1, -2]}, "prompt"), ({"prompt": [1 << 40]}, "prompt"), ({"prompt": []}, "prompt"), ({"cache_salt": "a" * 200}, "cache_salt"),
                            ({"service_tier": "gold"}, "service_tier"), ({"best_of": 2, "n": 3}, "best_of")):
            with self.subTest(body=body):
                error = self.ask("/v1/completions", {"prompt": "a", **body}, 400)["error"]
                self.assertTrue(error["param"].startswith(param), error)
        for messages in ([], [{"role": "king", "content": "x"}], [{"content": "x"}], [{"role": "user"}], ["x"], [{"role": "user", "content": [{"type": "image_url"}]}]):
            self.assertTrue(self.ask("/v1/chat/completions", {"messages": messages}, 400)["error"]["param"].startswith("messages"))
        for body in (b"", b"{", b"[]", b"nonsense", b'{"a": ' * 100, b"\xff\xfe", b"[" * 100000, b'{"temperature": 1e999}'):
            self.assertEqual(self.ask("/v1/completions", body, 400)["error"]["code"], "invalid_json")
        self.refused("/v1/embeddings", {"input": "a"}, 400, "model_not_found", "model")
        self.refused("/v1/rerank", {"query": "a", "documents": ["b"], "model": MODEL}, 400, "model_cannot_rerank", "model")

    def test_tools_need_a_template_that_knows_them(self):
        tool = {"type": "function", "function": {"name": "f"}}
        self.refused("/v1/chat/completions", {"messages": TALK, "tools": [tool]}, 400, "model_has_no_tools", "tools")
        self.ask("/v1/chat/completions", {"messages": TALK, "tools": [tool], "tool_choice": "none", "max_tokens": 2})

    def test_messages_in_parts(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": "Why is the "}, {"type": "text", "text": "sky blue?"}]}]
        same = [self.ask("/apply-template", {"messages": m})["prompt"] for m in (parts, TALK)]
        self.assertEqual(*same)
        self.assertIn("<|im_start|>user\nWhy is the sky blue?", same[0])

    def test_tokenize(self):
        for text in ("Hello world", "naïve café 你好 🙂", " leading", ""):
            ids = self.ask("/tokenize", {"content": text})["tokens"]
            self.assertEqual(self.ask("/detokenize", {"tokens": ids})["content"], text)
        pieces = self.ask("/tokenize", {"content": "Hello", "with_pieces": True})["tokens"]
        self.assertEqual("".join(p["piece"] for p in pieces), "Hello")

    def test_routes(self):
        r = self.server.request("GET", "/v1/chat/completions")
        self.assertEqual((r.status, r.headers["Allow"]), (405, "POST"))
        self.assertEqual(self.server.request("GET", "/nothing").status, 404)
        self.assertEqual(self.server.request("GET", "/livez").status, 200)
        self.assertEqual(self.server.request("GET", "/readyz").status, 200)
        self.assertEqual(json.loads(self.server.request("GET", "/health").text)["status"], "ok")
        r = self.server.request("HEAD", "/v1/models")
        self.assertEqual((r.status, r.text), (200, b""))
        r = self.server.request("GET", "/livez", headers={"x-request-id": "abc-1"})
        self.assertEqual(r.headers["x-request-id"], "abc-1")

    def test_hosts_and_origins(self):
        for host, status in (("evil.example", 403), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("10.1.2.3", 200)):
            self.assertEqual(self.server.request("GET", "/livez", headers={"Host": host}).status, status, host)
        self.assertEqual(self.server.request("GET", "/livez", headers={"Origin": "https://evil.example"}).status, 403)
        own = {"Origin": f"http://127.0.0.1:{self.server.port}", "Host": f"127.0.0.1:{self.server.port}"}
        r = self.server.request("GET", "/livez", headers=own)
        self.assertEqual((r.status, r.headers["Access-Control-Allow-Origin"]), (200, None))

    def counted(self, name):
        text = self.server.request("GET", "/metrics").text.decode()
        return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))

    def test_metrics(self):
        before = self.counted("vibee_generated_tokens_total"), self.counted("vibee_ttft_seconds_count")
        self.ask("/v1/completions", {"prompt": "Count me", "max_tokens": 5, "ignore_eos": True})
        self.assertEqual((self.counted("vibee_generated_tokens_total"), self.counted("vibee_ttft_seconds_count")), (before[0] + 5, before[1] + 1))
        self.assertEqual(self.counted("vibee_running"), 0)

    def test_prefixes_are_reused_within_a_salt(self):
        prompt = "A long beginning that several requests share, word by word: " + "and so on " * 20
        cached = lambda salt: self.ask("/v1/completions", {"prompt": prompt, "max_tokens": 1, "cache_salt": salt})["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertEqual(cached("one"), 0)
        self.assertGreater(cached("one"), 40)
        self.assertEqual(cached("two"), 0)

    def test_times_add_up(self):
        r = self.ask("/v1/completions", {"prompt": "Tell me", "max_tokens": 20, "ignore_eos": True, "vibee": {"timings": True}})["vibee"]["timings"]
        parts = sum(v for k, v in r.items() if k != "total_ms")
        self.assertAlmostEqual(parts / r["total_ms"], 1, delta=0.02)

    def test_clients_that_leave_cost_nothing(self):
        for _ in range(20):
            c = socket.create_connection(("127.0.0.1", self.server.port))
            body = json.dumps({"prompt": "Go on and on", "max_tokens": 400, "stream": True, "ignore_eos": True})
            c.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            c.recv(100)
            c.close()
        for _ in range(200):
            if self.counted("vibee_running") + self.counted("vibee_waiting") == 0:
                break
            time.sleep(0.05)
        self.assertEqual(self.counted("vibee_running") + self.counted("vibee_waiting"), 0)
        self.ask("/v1/completions", {"prompt": "Still there?", "max_tokens": 2})

    def test_timeout(self):
        started = time.time()
        error = self.ask("/v1/completions", {"prompt": "a", "max_tokens": 490, "ignore_eos": True, "timeout_ms": 100}, 504)["error"]
        self.assertEqual((error["code"], error["param"]), ("timeout", "timeout_ms"))
        self.assertLess(time.time() - started, 5)

    def test_overload_is_429_with_a_time(self):
        statuses, headers = [], []
        def one():
            r = self.server.request("POST", "/v1/completions", {"prompt": "x", "max_tokens": 60, "ignore_eos": True})
            statuses.append(r.status)
            headers.append(r.headers["Retry-After"])
        threads = [threading.Thread(target=one) for _ in range(70)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(set(statuses), {200, 429})
        self.assertGreaterEqual(statuses.count(200), 48)
        self.assertTrue(all(h and int(h) >= 1 for s, h in zip(statuses, headers) if s == 429))
        self.ask("/v1/completions", {"prompt": "x", "max_tokens": 2})

    def test_priority_goes_before(self):
        order, lock = [], threading.Lock()
        def one(name, priority):
            self.ask("/v1/completions", {"prompt": "x " + name, "max_tokens": 100, "ignore_eos": True, "priority": priority})
            with lock:
                order.append(name)
        threads = [threading.Thread(target=one, args=(f"late{i}", 0)) for i in range(20)]
        [t.start() for t in threads]
        time.sleep(0.3)
        first = threading.Thread(target=one, args=("first", 9))
        first.start()
        [t.join() for t in threads + [first]]
        self.assertLess(order.index("first"), 14, order)

    def test_slow_reader_holds_up_nobody(self):
        c = socket.create_connection(("127.0.0.1", self.server.port))
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"prompt": ["Go on"] * 8, "max_tokens": 490, "stream": True, "ignore_eos": True, "logprobs": 20, "return_token_ids": True})
        c.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.5)
        self.ask("/v1/completions", {"prompt": "Me too", "max_tokens": 4, "priority": 5})
        total = b""
        c.settimeout(60)
        while not total.endswith(b"0\r\n\r\n"):
            got = c.recv(1 << 20)
            self.assertTrue(got, total[-300:])
            total += got
        c.close()
        self.assertIn(b"[DONE]", total)
        self.assertEqual(total.count(b'"finish_reason": "length"'), 8)


class Guarded(unittest.TestCase):
    """Keys, scopes, signals, TLS: servers of their own."""

    def test_every_route_needs_a_key(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("# who may do what\nann infer key-of-ann\nbob metrics key-of-bob\nroot all key-of-root\n")
            keys.flush()
            s = Server("--ctx", "256", "--batch", "2", "--api-keys", keys.name)
            try:
                routes = re.findall(r'^VIBEE_ROUTE\((\w+), "([^"]+)", (\w+),', read(ROUTES), re.M)
                self.assertGreater(len(routes), 10)
                for method, path, scope in routes + [("GET", "/nothing", "none"), ("DELETE", "/v1/models", "none")]:
                    path = path.replace("*", "x")
                    self.assertEqual(s.request(method, path, {}).status, 401, path)
                    self.assertEqual(s.request(method, path, {}, key="wrong").status, 401, path)
                    if path == "/admin/events":  # has no end
                        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=30)
                        c.request(method, path, headers={"Authorization": "Bearer key-of-root"})
                        r = c.getresponse()
                        self.assertEqual(r.status, 200)
                        self.assertIn("running", json.loads(r.readline()[6:]))
                        c.close()
                    elif path != "/admin/drain":
                        self.assertEqual(s.request(method, path, {}, key="key-of-bob").status == 403, scope in ("infer", "embed", "admin"), path)
                        self.assertNotIn(s.request(method, path, {}, key="key-of-root").status, (401, 403), path)
                self.assertEqual(s.request("POST", "/admin/drain", {}, key="key-of-ann").status, 403)
                body = {"prompt": "What one key computed " * 10, "max_tokens": 1}
                cached = lambda key: s.ask("/v1/completions", body, key=key)["usage"]["prompt_tokens_details"]["cached_tokens"]
                self.assertEqual(cached("key-of-ann"), 0)
                self.assertGreater(cached("key-of-ann"), 0)
                self.assertEqual(cached("key-of-root"), 0)
                keys.write("new infer key-of-new\n")
                keys.flush()
                s.process.send_signal(signal.SIGHUP)
                for _ in range(100):
                    if s.request("GET", "/v1/models", key="key-of-new").status == 200:
                        break
                    time.sleep(0.05)
                self.assertEqual(s.request("GET", "/v1/models", key="key-of-new").status, 200)
                keys.write("broken line\n")
                keys.flush()
                s.process.send_signal(signal.SIGHUP)
                for _ in range(100):
                    if "nothing changed" in s.said():
                        break
                    time.sleep(0.05)
                self.assertIn("nothing changed", s.said())
                self.assertEqual(s.request("GET", "/v1/models", key="key-of-new").status, 200)
            finally:
                self.assertEqual(s.stop(), 0)

    def test_drain(self):
        s = Server("--ctx", "512", "--batch", "4", "--drain", "20")
        got = {}
        def one():
            got["answer"] = s.request("POST", "/v1/completions", {"prompt": "Go on", "max_tokens": 200, "ignore_eos": True})
        thread = threading.Thread(target=one)
        thread.start()
        time.sleep(0.3)
        idle = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20)
        idle.request("GET", "/livez")
        idle.getresponse().read()
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        idle.request("POST", "/v1/completions", json.dumps({"prompt": "too late", "max_tokens": 1}))
        late = idle.getresponse()
        self.assertEqual((late.status, json.loads(late.read())["error"]["code"]), (503, "shutting_down"))
        thread.join()
        self.assertEqual((got["answer"].status, json.loads(got["answer"].text)["usage"]["completion_tokens"]), (200, 200))
        self.assertEqual(s.process.wait(20), 0)

    def test_refuses_to_serve_others_without_a_key(self):
        for arguments, text in ((["--host", "0.0.0.0"], "--no-auth"), (["--tls-cert", "x.pem"], "TLS"), (["--host", "no.such.invalid"], "no.such"),
                                (["--api-keys", "/nowhere"], "/nowhere")):
            r = subprocess.run([VIBEE, "serve", MODEL, "--port", "0", *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual((r.returncode, r.stderr.count("\n")), (1, 1), r.stderr)
            self.assertIn(text, r.stderr)

    def test_says_where_it_listens(self):
        s = Server("--ctx", "256", "--batch", "2")
        self.assertIn(f"http://127.0.0.1:{s.port} ", s.said())
        self.assertEqual(s.stop(), 0)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", folder + "/key.pem",
                                   "-out", folder + "/cert.pem"], capture_output=True)
            if made.returncode:
                self.skipTest("openssl cannot make a certificate")
            import ssl
            s = Server("--ctx", "256", "--batch", "2", "--tls-cert", folder + "/cert.pem", "--tls-key", folder + "/key.pem", "--api-key", "k")
            try:
                context = ssl.create_default_context(cafile=folder + "/cert.pem")
                context.check_hostname = False
                for _ in range(2):
                    c = http.client.HTTPSConnection("127.0.0.1", s.port, context=context, timeout=30)
                    for _ in range(2):
                        c.request("POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 3, "ignore_eos": True}), {"Authorization": "Bearer k"})
                        self.assertEqual(json.loads(c.getresponse().read())["usage"]["completion_tokens"], 3)
                    c.close()
                plain = socket.create_connection(("127.0.0.1", s.port))
                plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                plain.settimeout(10)
                self.assertNotIn(b"200", plain.recv(100))
                plain.close()
            finally:
                self.assertEqual(s.stop(), 0)

    def test_tools(self):
        template = ("{%- if tools %}{{- '<|im_start|>system\\nYou may call these functions:\\n' }}{%- for t in tools %}{{- t | tojson }}{{- '\\n' }}{%- endfor %}"
                    "{{- 'To call one, write <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>.<|im_end|>\\n' }}{%- endif %}"
                    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}"
                    "{%- for c in m.tool_calls or [] %}{{- '<tool_call>' }}{{- c.function | tojson }}{{- '</tool_call>' }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endfor %}"
                    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
        function = lambda name, properties: {"type": "function", "function": {"name": name, "parameters": {
            "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}}
        tools = [function("weather", {"city": {"type": "string", "maxLength": 12}}), function("add", {"a": {"type": "integer", "minimum": 0, "maximum": 99}})]
        ask = {"messages": [{"role": "user", "content": "What is the weather in Oslo?"}], "tools": tools, "max_tokens": 80, "temperature": 0}
        path = "/v1/chat/completions"
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(template)
            file.flush()
            s = Server("--ctx", "1024", "--batch", "4", "--chat-template", file.name)
            try:
                for choice, allowed in (("required", {"weather", "add"}), ({"type": "function", "function": {"name": "add"}}, {"add"})):
                    body = {**ask, "tool_choice": choice}
                    c = s.ask(path, body)["choices"][0]
                    call = c["message"]["tool_calls"][0]
                    self.assertEqual((c["finish_reason"], c["message"]["content"], call["type"]), ("tool_calls", None, "function"))
                    self.assertIn(call["function"]["name"], allowed)
                    self.assertEqual(set(json.loads(call["function"]["arguments"])), {"city"} if call["function"]["name"] == "weather" else {"a"})
                    events, done = s.events(path, body)
                    deltas = [d for e in events for x in e["choices"] for d in x["delta"].get("tool_calls", [])]
                    self.assertEqual((done, [d["function"] for d in deltas], deltas[0]["index"]), (True, [call["function"]], 0))
                    self.assertEqual(events[-1]["choices"][0]["finish_reason"], "tool_calls")
                auto = s.ask(path, {**ask, "messages": ask["messages"] + [
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}}]},
                    {"role": "tool", "tool_call_id": "1", "content": "It rains."}]})["choices"][0]
                self.assertIn(auto["finish_reason"], ("stop", "length", "tool_calls"))
                prompt = s.ask("/apply-template", {"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]}]})["prompt"]
                self.assertIn('"arguments": {"x": 1}', prompt)
                for wrong, param in (({"tools": [{"type": "web"}]}, "tools[0].type"), ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
                                     ({"tool_choice": "perhaps"}, "tool_choice")):
                    self.assertEqual(s.ask(path, {**ask, **wrong}, 400)["error"]["param"], param)
            finally:
                self.assertEqual(s.stop(), 0)

    def test_restart_gives_the_same_bytes(self):
        body = {"prompt": "The colours of autumn are", "max_tokens": 24, "seed": 11, "temperature": 1.2, "logprobs": 1}
        answers = []
        for arguments in (["--threads", "1", "--prefix", "off"], ["--batch", "3", "--chunk", "7"]):
            s = Server("--ctx", "256", *arguments)
            r = s.ask("/v1/completions", body)
            answers.append((r["choices"], r["system_fingerprint"]))
            self.assertEqual(s.stop(), 0)
        self.assertEqual(*answers)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
