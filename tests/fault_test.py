#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server whose N-th allocation, read, write, send or accept fails, for N = 1, 2, 3, ... over the life of a request.

usage: tests/fault_test.py VIBEE MODEL FAULT_INJECT [--every] [unittest arguments]
A request that meets a fault may end with an error or a closed connection; what it says as a success must be right. The server answers the
next request with the right bytes, and loses no page, descriptor or thread. Without --every N grows by a tenth beyond 30.
"""
import http.client
import json
import os
import sys
import tempfile
import time
import unittest

EVERY = "--every" in sys.argv and not sys.argv.remove("--every")
LIBRARY = os.path.abspath(sys.argv.pop(3))
import faults  # noqa: E402
from faults import ALLOC, CLOCK, ENGINE, HTTP  # noqa: E402
from served import MODEL, Server  # noqa: E402

TALK = [{"role": "user", "content": "Why?"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"], "additionalProperties": False}
REQUESTS = {
    "plain": ("POST", "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 6, "seed": 3, "logprobs": 1, "n": 2}),
    "streamed": ("POST", "/v1/chat/completions", {"messages": TALK, "max_tokens": 12, "seed": 5, "stream": True, "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
    "refused": ("POST", "/v1/embeddings", {"input": "a"}),
    "tokenize": ("POST", "/tokenize", {"content": "Once upon a time"}),
    "config": ("GET", "/admin/config", None),
    "metrics": ("GET", "/metrics", None),
    "models": ("GET", "/v1/models", None),
    "health": ("GET", "/health", None),
}
CHANGES = ("id", "created", "last_step_age_s", "last_step_ms", "failures")  # members that may differ between two answers


def same(value):
    """An answer without what differs from one time to the next."""
    if isinstance(value, dict):
        return {k: same(v) for k, v in value.items() if k not in CHANGES and k != "prompt_tokens_details"}
    return [same(v) for v in value] if isinstance(value, list) else value


class Faulty(unittest.TestCase):
    arguments = ("--batch", "4")

    @classmethod
    def start(cls):
        cls.server = Server("--ctx", "256", "--threads", "2", *cls.arguments, env=cls.faults.environment())

    @classmethod
    def setUpClass(cls):
        cls.faults = faults.Faults(LIBRARY)
        cls.start()
        cls.right = {name: cls.ask(name) for name in REQUESTS}
        for name, (status, _) in cls.right.items():
            assert status == (400 if name == "refused" else 200), (name, cls.right[name])
        time.sleep(0.5)  # the connections of these have ended
        cls.at_rest = cls.own()

    @classmethod
    def tearDownClass(cls):
        cls.faults.disarm()
        status = cls.server.stop()
        assert status == 0, status

    @classmethod
    def ask(cls, name):
        """(status, what it said); for a cut connection (0, why)."""
        method, path, body = REQUESTS[name]
        c = http.client.HTTPConnection("127.0.0.1", cls.server.port, timeout=20)
        try:
            c.request(method, path, None if body is None else json.dumps(body), {"x-request-id": "r"})
            r = c.getresponse()
            text = r.read().decode()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as e:
            return 0, repr(e)
        finally:
            c.close()
        if "event-stream" in (r.headers["Content-Type"] or ""):
            events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
            return r.status, same([json.loads(e) if e.startswith("{") else e for e in events])
        return r.status, same(json.loads(text)) if name != "metrics" else ""

    def pages(self):
        text = self.server.request("GET", "/metrics").text.decode()
        return {line.split('state="')[1].split('"')[0]: int(float(line.split()[-1])) for line in text.split("\n") if line.startswith("vibee_kv_pages{")}

    @classmethod
    def own(cls):
        """Descriptors and threads."""
        base = f"/proc/{cls.server.process.pid}/"
        return len(os.listdir(base + "fd")), len(os.listdir(base + "task"))

    def is_well(self, what):
        """The next answers are right, and nothing was lost."""
        self.assertIsNone(self.server.process.poll(), f"{what}: the server has ended: {self.server.said()[-800:]}")
        for name in ("plain", "streamed"):
            self.assertEqual(self.ask(name), self.right[name], what)
        for _ in range(200):
            if self.pages()["locked"] == 0:
                break
            time.sleep(0.02)
        self.assertEqual(self.pages()["locked"], 0, what)

    def judge(self, name, got, fired, what):
        status, said = got
        right_status, right = self.right[name]
        if not fired:
            return self.assertEqual(got, (right_status, right), what)
        if status == right_status:
            if isinstance(right, list) and said != right:  # a stream: what it says is right as far as it goes
                ended = [e for e in said if isinstance(e, dict) and "error" not in e]
                self.assertEqual(ended, right[:len(ended)], what)
                self.assertNotIn("[DONE]", said, what)
            else:
                self.assertEqual(said, right, what)
        else:
            self.assertTrue(status == 0 or status >= 500, f"{what}: {got}")

    def sweep(self, name, kinds, thread="", halves=False):
        """The N-th call fails until there are no more calls; the number of faults."""
        n = points = 1
        while True:
            what = f"{name}, call {n} of kinds {kinds} on '{thread}'"
            self.faults.arm(kinds, n, thread=thread, halves=halves)
            try:
                got = self.ask(name)
            except TimeoutError:
                self.fail(f"{what}: no answer")
            calls, fired = self.faults.disarm()
            self.judge(name, got, fired, what)
            if fired or points % 16 == 0:
                self.is_well(what)
            if not fired and calls < n:
                break
            points += 1
            n += 1 if EVERY or n < 30 else n // 10
        for _ in range(100):
            if self.own() <= self.at_rest:
                break
            time.sleep(0.05)
        self.assertLessEqual(self.own(), self.at_rest, name)
        return points - 1


class Memory(Faulty):
    def test_the_thread_of_http(self):
        for name in REQUESTS:
            with self.subTest(request=name):
                points = self.sweep(name, ALLOC, HTTP)
                self.assertGreater(points, 10)
                print(f"{name}: {points} allocations failed on the thread of HTTP")

    def test_the_thread_of_the_engine(self):
        for name in ("plain", "streamed", "config", "health"):
            with self.subTest(request=name):
                print(f"{name}: {self.sweep(name, ALLOC, ENGINE)} allocations failed on the thread of the engine")


class Sockets(Faulty):
    def test_calls_that_fail_and_calls_that_do_half(self):
        for kinds in (faults.RECEIVE, faults.SEND, faults.ACCEPT):
            for name in ("plain", "streamed", "refused"):
                for halves in (False, True):
                    if not (halves and kinds == faults.ACCEPT):
                        self.sweep(name, kinds, halves=halves)


class Disk(Faulty):
    """Pages on disk, and too few in memory to keep them there."""
    PROMPTS = ["".join(f" {word}{i}" for i in range(22)) for word in ("red", "green", "blue", "grey")]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.arguments = ("--batch", "1", "--kv-disk", cls.folder.name + ",16M")
        super().setUpClass()
        cls.texts = [cls.text_of(p)[0] for p in cls.PROMPTS]

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.folder.cleanup()

    @classmethod
    def text_of(cls, prompt):
        """The text, and how many tokens of the prompt were not computed."""
        r = cls.server.ask("/v1/completions", {"prompt": prompt, "max_tokens": 4, "temperature": 0})
        return r["choices"][0]["text"], r["usage"]["prompt_tokens_details"]["cached_tokens"]

    def rounds(self, n=1):
        """Every text is right; tokens that were not computed."""
        cached = 0
        for _ in range(n):
            for prompt, right in zip(self.PROMPTS, self.texts):
                text, found = self.text_of(prompt)
                self.assertEqual(text, right)
                cached += found
        return cached

    def await_fault(self):
        """The writer has met it, who is a thread of its own."""
        for _ in range(400):
            if self.faults.fired():
                break
            time.sleep(0.05)
        self.assertGreater(self.faults.disarm()[1], 0)

    def segments(self):
        return [os.path.join(self.folder.name, f) for f in sorted(os.listdir(self.folder.name)) if f.endswith(".kv")]

    def restart(self, sig, fresh=False):
        self.server.stop(sig)
        for f in self.segments() if fresh else ():
            os.unlink(f)
        self.start()

    def test_1_pages_come_back(self):
        self.assertGreater(self.rounds(2), 300)  # else nothing below would prove a thing

    def test_2_reads_and_opens_that_fail(self):
        for kinds in (faults.READ, faults.OPEN):
            for halves in (False, True):
                for n in range(1, 12):
                    self.faults.arm(kinds, n, thread=ENGINE, halves=halves)
                    self.rounds()
                    self.faults.disarm()
        self.faults.arm(faults.READ, 1, 1 << 40, thread=ENGINE)  # a disk that gives nothing any more
        self.rounds(2)
        self.assertGreater(self.faults.disarm()[1], 0)
        self.is_well("after a disk that gave nothing")

    def test_3_writes_that_fail(self):
        for n in range(1, 8):
            for halves in (False, True):
                self.restart(9, True)  # one error ends the writing: each N meets a server of its own
                self.faults.arm(faults.WRITE, n, thread=faults.DISK, halves=halves)
                self.rounds(2)
                self.await_fault()
        self.restart(9, True)
        self.faults.arm(faults.WRITE, 1, 1 << 40, thread=faults.DISK)  # full
        self.rounds(2)
        self.await_fault()
        self.is_well("after a disk that was full")
        self.restart(15)
        self.rounds(2)

    def test_4_memory_of_the_writer(self):
        for n in range(1, 20):
            self.restart(9, True)
            self.faults.arm(ALLOC, n, thread=faults.DISK)
            self.rounds()
            self.await_fault()

    def test_5_bytes_that_change_below_it(self):
        self.restart(15)
        self.rounds(2)
        for f in self.segments():
            with open(f, "r+b") as file:
                size = os.path.getsize(f)
                for at in range(5000, size, 3001):
                    file.seek(at)
                    byte = file.read(1)
                    file.seek(at)
                    file.write(bytes([byte[0] ^ 0x40]))
        self.rounds(2)
        self.restart(15)
        self.rounds(2)
        for f in self.segments():
            os.truncate(f, os.path.getsize(f) // 2)
        self.rounds(2)
        for f in self.segments():
            os.unlink(f)
        self.rounds(2)

    def test_6_over_a_restart(self):
        self.restart(15)
        self.rounds(2)
        self.restart(15)
        self.assertGreater(self.text_of(self.PROMPTS[0])[1], 0)
        self.restart(9)
        self.rounds(2)


class Hang(unittest.TestCase):
    def wait_for(self, what, seconds=40):
        end = time.time() + seconds
        while time.time() < end:
            try:
                if what():
                    return True
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        return False

    def run_one(self, *arguments):
        """A server whose engine hangs in the middle of an answer; what a client saw of it."""
        plan = faults.Faults(LIBRARY)
        s = Server("--ctx", "256", "--batch", "2", *arguments, env=plan.environment())
        body = {"prompt": "Once", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
        right = s.ask("/v1/completions", body)["choices"]
        plan.arm(CLOCK, 20, thread=ENGINE)
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60)
        c.request("POST", "/v1/completions", json.dumps({**body, "stream": True}))
        said = c.getresponse().read().decode()
        self.assertIn("engine_stuck", said)
        self.assertNotIn("[DONE]", said)
        health = s.request("GET", "/health")
        self.assertEqual((health.status, json.loads(health.text)["models"][0]["hangs"]), (503, True))
        for method, path, ask in (("GET", "/livez", None), ("GET", "/readyz", None), ("POST", "/v1/completions", body)):
            r = s.request(method, path, ask)
            self.assertEqual((r.status, json.loads(r.text)["error"]["code"]), (503, "engine_stuck"), path)
        plan.disarm()
        return s, body, right

    def test_the_process_ends_so_that_it_is_started_again(self):
        s, _, _ = self.run_one()
        self.assertEqual(s.process.wait(20), 75)
        self.assertIn("hangs", s.said())

    def test_supervised(self):
        s, body, right = self.run_one("--supervise")
        self.assertTrue(self.wait_for(lambda: s.request("GET", "/livez").status == 200), s.said())
        self.assertEqual(s.ask("/v1/completions", body)["choices"], right)
        with open(f"/proc/{s.process.pid}/task/{s.process.pid}/children") as f:
            os.kill(int(f.read().split()[0]), 9)
        self.assertTrue(self.wait_for(lambda: s.said().count("started again") == 2 and s.request("GET", "/readyz").status == 200), s.said())
        self.assertEqual(s.ask("/v1/completions", body)["choices"], right)
        self.assertEqual(s.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
