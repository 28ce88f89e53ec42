#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package on a tiny model: what it gives, what it refuses, threads, Ctrl-C.  tests/python_test.py MODEL"""
import ctypes
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

import numpy as np
import vibee
from vibee import _library

MODEL = sys.argv.pop()
GO_ON = {"ignore_end": True}


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = vibee.load(MODEL, ctx=512, threads=2, batch=2, chunk=32)

    def test_structs_are_those_of_the_header(self):
        names = {"LoadOptions": "vibee_load_options", "ModelInfo": "vibee_model_info", "Message": "vibee_message", "Stats": "vibee_stats",
                 "LogitBias": "vibee_logit_bias", "GenerateOptions": "vibee_generate_options", "Event": "vibee_event",
                 "TokenLogprob": "vibee_token_logprob", "Prompt": "vibee_prompt"}
        lines = ["#include <stddef.h>", "#include <vibee/vibee.h>", f'_Static_assert(VIBEE_ABI_VERSION == {_library.ABI_VERSION}, "abi");']
        for ours, theirs in names.items():
            struct = getattr(_library, ours)
            lines.append(f'_Static_assert(sizeof({theirs}) == {ctypes.sizeof(struct)}, "{theirs}");')
            for name, kind in struct._fields_:
                same = f"offsetof({theirs}, {name}) == {getattr(struct, name).offset} && sizeof((({theirs}*)0)->{name}) == {ctypes.sizeof(kind)}"
                lines.append(f'_Static_assert({same}, "{theirs}.{name}");')
        self.assertEqual(set(names), {n for n, t in vars(_library).items() if isinstance(t, type) and issubclass(t, ctypes.Structure)} - {"Structure", "Sized"})
        include = pathlib.Path(__file__).parent.parent / "include"
        subprocess.run(["cc", "-std=c11", "-fsyntax-only", "-x", "c", f"-I{include}", "-"], input="\n".join(lines), text=True, check=True)

    def test_generates(self):
        text = self.m.generate("hello there", max_tokens=20, temperature=1, seed=5, logprobs=3, **GO_ON)
        self.assertIsInstance(text, str)
        self.assertEqual((len(text.tokens), text.finish, text.seed), (20, "length", 5))
        self.assertEqual(len(text.top), 20)
        self.assertTrue(all(len(row) == 3 for row in text.top) and all(x <= 0 for x in text.logprobs))
        self.assertEqual(text.stats.generated_tokens, 20)
        self.assertGreater(text.stats.decode_rate, 0)
        self.assertEqual("".join(self.m.stream("hello there", max_tokens=20, temperature=1, seed=5, **GO_ON)), text)
        self.assertEqual(self.m.generate(self.m.tokenize("hello there"), max_tokens=20, temperature=1, seed=5, **GO_ON), text)
        drawn = self.m.generate("hello there", max_tokens=20, temperature=1, **GO_ON)
        self.assertEqual(self.m.generate("hello there", max_tokens=20, temperature=1, seed=drawn.seed, **GO_ON), drawn)

    def test_company_changes_nothing(self):
        prompts = ["one", "two words that are longer than a chunk of prompt rows is, so it takes several steps", "3"]
        together = self.m.generate(prompts, max_tokens=9, temperature=1, seed=3, **GO_ON)
        for i, prompt in enumerate(prompts):
            self.assertEqual(together[i], self.m.generate(prompt, max_tokens=9, temperature=1, seed=3 + i, **GO_ON))

    def test_stops(self):
        text = self.m.generate("hello", max_tokens=50, **GO_ON)
        stop = text[len(text) // 2 :][:3]
        cut = self.m.generate("hello", max_tokens=50, stop=stop, **GO_ON)
        self.assertEqual((cut, cut.finish), (text[: text.index(stop)], "stop_string"))
        self.assertEqual(self.m.generate("hello", max_tokens=10**6, **GO_ON).finish, "context")
        pieces = self.m.stream("hello", max_tokens=10**6, **GO_ON)
        next(pieces)
        pieces.close()

    def test_chat(self):
        messages = [{"role": "user", "content": "hi"}]
        self.assertEqual(self.m.tokenize_chat(messages), self.m.tokenize("user: hi\nassistant:"))
        self.assertEqual(self.m.chat(messages, max_tokens=5), self.m.generate("user: hi\nassistant:", max_tokens=5))

    def test_tokens_and_logits(self):
        for text in ["", "plain", "na\u00efve \u4f60\u597d \U0001f600", "zero\0byte"]:
            self.assertEqual(self.m.detokenize(self.m.tokenize(text)), text)
        tokens = self.m.tokenize("a text of some more tokens than one step of logits has rows")
        rows = self.m.logits(tokens)
        self.assertEqual((rows.shape, rows.dtype), ((len(tokens), self.m.info.vocabulary), np.float32))
        self.assertTrue(np.isfinite(rows).all())
        self.assertTrue(np.array_equal(rows[-2:], self.m.logits(np.array(tokens), first=len(tokens) - 2)))
        self.assertEqual([int(rows[-1].argmax())], self.m.generate(tokens, max_tokens=1).tokens)

    def test_refuses_in_one_line(self):
        m = self.m
        closed = vibee.load(MODEL)
        closed.close()
        for text, call in {
            "neither a file": lambda: vibee.load("no\nsuch model"),
            "trained for": lambda: vibee.load(MODEL, ctx=10**6),
            "ctx 0": lambda: vibee.load(MODEL, ctx=0),
            "threads -1": lambda: vibee.load(MODEL, threads=-1),
            "--kv": lambda: vibee.load(MODEL, kv="f64"),
            "isa: a zero byte": lambda: vibee.load(MODEL, isa="a\0b"),
            "MiB": lambda: vibee.load(MODEL, memory=1),
            "closed": lambda: closed.generate("a"),
            "max_tokens 0": lambda: m.generate("a", max_tokens=0),
            "max_tokens 42949": lambda: m.generate("a", max_tokens=2**32),
            "temperature": lambda: m.generate("a", temperature=float("nan")),
            "top_p 0": lambda: m.generate("a", top_p=0),
            "top_p": lambda: m.stream("a", top_p=1.5),
            "seed -1": lambda: m.generate("a", seed=-1),
            "logit_bias": lambda: m.generate("a", logit_bias={10**5: 1.0}),
            "stop: a zero byte": lambda: m.generate("a", stop="\0"),
            "stop string is empty": lambda: m.generate("a", stop=[""]),
            "surrogates": lambda: m.generate("\ud800"),
            "no tokens": lambda: m.generate([]),
            "prompt 2": lambda: m.generate([[5], []]),
            "token -1": lambda: m.detokenize([-1]),
            "32 bits": lambda: m.detokenize([2**40]),
            "token 99999": lambda: m.logits([99999]),
            "513 tokens": lambda: m.logits([5] * 513),
            "from token 7": lambda: m.logits([5], first=7),
        }.items():
            with self.subTest(text), self.assertRaises(vibee.Error) as caught:
                call()
            self.assertIn(text, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))
            self.assertIn(caught.exception.code, _library.CODES)
        with self.assertRaises(TypeError):
            m.generate("a", no_such_option=1)

    def test_the_lock_is_released(self):
        wide = vibee.load(MODEL, ctx=4096, threads=1)
        done, ticks = threading.Event(), 0
        worker = threading.Thread(target=lambda: ([wide.logits([5] * 4096) for _ in range(10)], done.set()))
        worker.start()
        while not done.wait(0.001):
            ticks += 1
        worker.join()
        self.assertGreater(ticks, 20)  # one a millisecond; about one a call if calls held the lock

    def test_threads_share_a_model_that_is_closed_under_them(self):
        m = vibee.load(MODEL, ctx=512, batch=4)
        alone, texts = m.generate("same", max_tokens=60, **GO_ON), [None] * 4

        def work(i):
            texts[i] = m.generate("same", max_tokens=60, **GO_ON)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(texts, [alone] * 4)
        pieces = m.stream("same", max_tokens=60, **GO_ON)
        m.close()
        self.assertEqual("".join(pieces), alone)

    def test_interrupt(self):
        program = ("import vibee, sys\nm = vibee.load(sys.argv[1], ctx=4096)\n"
                   "try:\n  while True:\n    for p in m.stream('go', max_tokens=10**6, ignore_end=True): print(1, flush=True)\n"
                   "except KeyboardInterrupt: print('stopped', m.generate('a', max_tokens=2, ignore_end=True).stats.generated_tokens)\n")
        child = subprocess.Popen([sys.executable, "-c", program, MODEL], stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        begin = time.monotonic()
        rest = child.communicate(timeout=60)[0]
        self.assertTrue(rest.endswith("stopped 2\n"), rest[-100:])
        self.assertEqual(child.returncode, 0)
        self.assertLess(time.monotonic() - begin, 20)


if __name__ == "__main__":
    unittest.main()
