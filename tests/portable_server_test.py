#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What llama.cpp's own server tests ask of any server, written anew as relations, on models made here and in data/golden.

usage: tests/portable_server_test.py VIBEE MODEL [unittest arguments]
A class stands for a file of theirs (tools/server/tests/unit, 2026-08). test_basic, test_completion, test_chat_completion, test_security,
test_ctx_shift and test_tool_call are for the larger part in server_test.py; what only llama-server has (slots, infill, router, MCP, media,
texts of its own models) is not here.
"""
import base64
import datetime
import json
import math
import os
import struct
import tempfile
import threading
import unittest

from served import MODEL, TALK, Server, joined

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/golden/bert")
TOOL = {"type": "function", "function": {"name": "test", "description": "", "parameters": {
    "type": "object", "properties": {"success": {"type": "boolean", "const": True}}, "required": ["success"], "additionalProperties": False}}}


def strings(name):
    """Golden texts that were not cut."""
    folder = os.path.join(GOLDEN, name)
    with open(os.path.join(folder, "strings.json"), encoding="utf-8") as file:
        texts = json.load(file)["strings"]
    most = max(len(t["ids"]) for t in texts)
    return [t for t in texts if len(t["ids"]) < most]


class Served(unittest.TestCase):
    arguments, models = (), (MODEL,)

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.arguments, models=cls.models)

    @classmethod
    def tearDownClass(cls):
        assert cls.server.stop() == 0

    def ask(self, *a, **k):
        return self.server.ask(*a, **k)


class Completion(Served):
    arguments = ("--ctx", "256", "--batch", "4")

    def test_counts(self):
        for prompt, n in (("I believe the meaning of life is", 8), ("Write a joke about AI from a very long prompt", 64)):
            ids = self.ask("/tokenize", {"content": prompt})["tokens"]
            body = self.ask("/v1/completions", {"prompt": prompt, "max_tokens": n, "ignore_eos": True, "temperature": 0.8, "seed": 42})
            self.assertEqual((body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]), (len(ids), n))
            self.assertEqual((body["choices"][0]["finish_reason"], body["object"]), ("length", "text_completion"))
            self.assertIn("cmpl", body["id"])

    def test_same_seed_same_text_and_another_seed_another(self):
        texts = [[self.ask("/v1/completions", {"prompt": "I believe the meaning of life is", "max_tokens": 24, "temperature": 1, "seed": seed})["choices"][0]["text"]
                  for _ in range(3)] for seed in range(4)]
        self.assertTrue(all(len(set(t)) == 1 for t in texts), texts)
        self.assertGreater(len({t[0] for t in texts}), 1)

    def test_a_cached_prompt_gives_the_same_text(self):
        body = {"prompt": "Tell me, in many words, what the sea looks like in winter", "max_tokens": 12, "temperature": 0, "cache_salt": "cached"}
        first, second = self.ask("/v1/completions", body), self.ask("/v1/completions", body)
        self.assertEqual(first["choices"], second["choices"])
        cached = [r["usage"]["prompt_tokens_details"]["cached_tokens"] for r in (first, second)]
        self.assertEqual(cached[0], 0)
        self.assertGreater(cached[1], 0)

    def test_a_prompt_survives_another_in_the_cache(self):
        story = "Once upon a time in a land far away a brave knight travelled across mountains and rivers to find a golden sword. " * 2
        ask = lambda prompt: self.ask("/v1/completions", {"prompt": prompt, "max_tokens": 4, "cache_salt": "keep"})["usage"]
        whole = ask(story)
        ask("The quick brown fox")
        again, more = ask(story), ask(story + " The knight finally reached the gates of the castle.")
        self.assertEqual(again["prompt_tokens"], whole["prompt_tokens"])
        for usage in (again, more):
            self.assertGreater(usage["prompt_tokens_details"]["cached_tokens"], 0.8 * whole["prompt_tokens"])

    def test_token_ids_and_texts_may_be_mixed(self):
        ids = self.ask("/tokenize", {"content": "I believe the meaning of life is"})["tokens"]
        body = {"max_tokens": 6, "temperature": 0}
        texts = [c["text"] for c in self.ask("/v1/completions", {**body, "prompt": [ids, "I believe the meaning of life is"]})["choices"]]
        self.assertEqual(texts[0], texts[1])

    def test_many_at_once(self):
        got = [None] * 8
        def one(i):
            got[i] = self.ask("/v1/completions", {"prompt": f"{i} is a number that", "max_tokens": 16, "seed": i, "ignore_eos": True})
        threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        for i in range(8):
            one = self.ask("/v1/completions", {"prompt": f"{i} is a number that", "max_tokens": 16, "seed": i, "ignore_eos": True})
            self.assertEqual(one["choices"], got[i]["choices"])

    def test_logprobs_are_probabilities(self):
        body = {"prompt": "I believe the meaning of life is", "max_tokens": 5, "temperature": 0, "logprobs": 10, "return_token_ids": True}
        plain = self.ask("/v1/completions", body)["choices"][0]
        for at, (token, p) in enumerate(zip(plain["logprobs"]["tokens"], plain["logprobs"]["token_logprobs"])):
            top = plain["logprobs"]["top_logprobs"][at]
            self.assertEqual((len(top), max(top.values())), (10, p))
            self.assertEqual(top[token], p)
            self.assertLessEqual(sum(math.exp(v) for v in top.values()), 1 + 1e-5)
        parts = [e["choices"][0]["logprobs"] for e in self.server.events("/v1/completions", body)[0]]
        self.assertEqual(sum((p["token_logprobs"] for p in parts), []), plain["logprobs"]["token_logprobs"])

    def test_logit_bias_keeps_tokens_out(self):
        body = {"prompt": "What is the best book", "max_tokens": 32, "temperature": 0, "return_token_ids": True, "ignore_eos": True}
        free = self.ask("/v1/completions", body)["choices"][0]["token_ids"]
        out = set(free)
        kept = self.ask("/v1/completions", {**body, "logit_bias": {str(t): -100 for t in out}})["choices"][0]["token_ids"]
        self.assertEqual((len(kept), out & set(kept)), (32, set()))

    def test_ignore_eos(self):
        end = self.ask("/v1/completions", {"prompt": "Once", "max_tokens": 1, "temperature": 0, "return_token_ids": True})
        force = {str(self.ask("/tokenize", {"content": "<|im_end|>"})["tokens"][0]): 100}
        body = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "logit_bias": force}
        self.assertEqual(self.ask("/v1/completions", body)["choices"][0]["finish_reason"], "stop")
        on = self.ask("/v1/completions", {**body, "ignore_eos": True})
        self.assertEqual((on["choices"][0]["finish_reason"], on["usage"]["completion_tokens"]), ("length", 8))
        self.assertEqual(end["usage"]["completion_tokens"], 1)

    def test_the_context_is_never_shifted(self):
        short = self.ask("/v1/completions", {"prompt": "Hi how are you", "max_tokens": 100000, "ignore_eos": True})
        self.assertEqual((short["usage"]["total_tokens"], short["choices"][0]["finish_reason"]), (256, "length"))
        long = self.ask("/v1/completions", {"prompt": "Lorem ipsum dolor sit amet " * 80, "max_tokens": 64}, 400)["error"]
        self.assertEqual(long["code"], "context_length_exceeded")
        events, done = self.server.events("/v1/completions", {"prompt": "Once", "max_tokens": 300, "ignore_eos": True})
        self.assertTrue(done and joined(events)[0][0] and joined(events)[0][1] == "length")


class Chat(Served):
    arguments = ("--ctx", "512", "--batch", "4")
    path = "/v1/chat/completions"

    def test_shape(self):
        body = self.ask(self.path, {"messages": [{"role": "system", "content": "Book"}] + TALK, "max_tokens": 8, "temperature": 0})
        choice = body["choices"][0]
        self.assertEqual((choice["message"]["role"], choice["index"], body["object"]), ("assistant", 0, "chat.completion"))
        self.assertTrue(body["id"].startswith("chatcmpl") and body["system_fingerprint"])
        self.assertEqual(body["usage"]["total_tokens"], body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"])
        events, _ = self.server.events(self.path, {"messages": TALK, "max_tokens": 8})
        self.assertEqual({(e["id"], e["model"], e["object"], e["system_fingerprint"]) for e in events},
                         {(events[0]["id"], MODEL, "chat.completion.chunk", body["system_fingerprint"])})

    def test_several_choices(self):
        choices = self.ask(self.path, {"messages": TALK, "max_tokens": 8, "n": 3, "temperature": 1, "seed": 5})["choices"]
        self.assertEqual([c["index"] for c in choices], [0, 1, 2])
        self.assertGreater(len({c["message"]["content"] for c in choices}), 1)

    def test_formats(self):
        for schema, check in (({"const": "42"}, lambda v: v == "42"), ({"enum": ["foooooo"]}, lambda v: v == "foooooo"),
                              ({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 4}, lambda v: all(isinstance(x, int) for x in v))):
            got = self.ask(self.path, {"messages": TALK, "max_tokens": 40, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
            self.assertTrue(check(json.loads(got["choices"][0]["message"]["content"])), got)
        a = self.ask(self.path, {"messages": TALK, "max_tokens": 20, "grammar": {"type": "gbnf", "value": 'root ::= "a"{5,5}'}})["choices"][0]
        self.assertEqual((a["message"]["content"], a["finish_reason"]), ("aaaaa", "stop"))

    def test_formats_that_are_none(self):
        wrap = lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        for value in ({"type": "sound"}, {}, wrap(123), wrap({"type": 123}), wrap({"type": "hiccup"}), {"type": "json_schema"}):
            self.ask(self.path, {"messages": TALK, "response_format": value}, 400)
        self.ask(self.path, {"messages": TALK, "grammar": {"type": "gbnf", "value": "root ::= this is (not valid GBNF"}}, 400)

    def test_messages_that_are_none(self):
        for messages in (None, "string", [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}], [{"role": "system", "content": "test"}, {}]):
            self.ask(self.path, {"messages": messages}, 400)

    def test_streamed_logprobs_are_the_plain_ones(self):
        body = {"messages": TALK, "max_tokens": 6, "temperature": 0, "logprobs": True, "top_logprobs": 3}
        plain = self.ask(self.path, body)["choices"][0]["logprobs"]["content"]
        parts = [e["choices"][0]["logprobs"]["content"] for e in self.server.events(self.path, body)[0] if e["choices"][0].get("logprobs")]
        self.assertEqual(sum(parts, []), plain)

    def test_a_long_conversation_is_refused_streamed_too(self):
        for stream in (False, True):
            error = self.ask(self.path, {"messages": [{"role": "user", "content": "word " * 700}], "stream": stream}, 400)["error"]
            self.assertEqual((error["code"], error["type"]), ("context_length_exceeded", "invalid_request_error"))

    def test_the_last_message_may_be_gone_on_with(self):
        talk = TALK + [{"role": "assistant", "content": "Because light"}]
        prompt = lambda **more: self.ask("/apply-template", {"messages": talk, **more})["prompt"]
        self.assertTrue(prompt().endswith("Because light<|im_end|>\n<|im_start|>assistant\n"))
        self.assertTrue(prompt(add_generation_prompt=False).endswith("Because light<|im_end|>\n"))
        open_end = prompt(continue_final_message=True)
        self.assertEqual(open_end + "<|im_end|>\n", prompt(add_generation_prompt=False))
        body = {"max_tokens": 10, "temperature": 0}
        chat = self.ask(self.path, {**body, "messages": talk, "add_generation_prompt": False, "continue_final_message": True})
        plain = self.ask("/v1/completions", {**body, "prompt": open_end})
        self.assertEqual(chat["choices"][0]["message"]["content"], plain["choices"][0]["text"])
        parts = TALK + [{"role": "assistant", "content": [{"type": "text", "text": "Because "}, {"type": "text", "text": "light"}]}]
        self.assertEqual(self.ask("/apply-template", {"messages": parts, "continue_final_message": True})["prompt"], open_end)
        for path in (self.path, "/apply-template"):
            both = self.ask(path, {"messages": talk, "add_generation_prompt": True, "continue_final_message": True}, 400)["error"]
            self.assertEqual(both["param"], "continue_final_message")
            self.ask(path, {"messages": TALK, "continue_final_message": True}, 400)  # the user's


class Tokenize(Served):
    arguments = ("--ctx", "256", "--batch", "2")

    def test_pieces(self):
        tokens = self.ask("/tokenize", {"content": "This is a test string with unicode 媽 and emoji 🤗", "with_pieces": True})["tokens"]
        raw = b"".join(t["piece"].encode() if isinstance(t["piece"], str) else bytes(t["piece"]) for t in tokens)
        self.assertEqual(raw.decode(), "This is a test string with unicode 媽 and emoji 🤗")
        self.assertTrue(all(t["id"] > 0 for t in tokens))

    def test_there_and_back(self):
        ids = self.ask("/tokenize", {"content": "What is the capital of France ?"})["tokens"]
        self.assertGreater(len(ids), 5)
        self.assertEqual(self.ask("/detokenize", {"tokens": ids})["content"], "What is the capital of France ?")


class Template(unittest.TestCase):
    """Templates in the manner of those that are published: a date, thinking, functions."""

    SOURCE = ("{%- set date = strftime_now('%d %b %Y') -%}<|im_start|>system\nToday Date: {{ date }}\n"
              "{%- if tools %}{% for t in tools %}\n{{ t | tojson }}{% endfor %}{% endif %}<|im_end|>\n"
              "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
              "{%- if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}")

    def test_what_a_prompt_holds(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(self.SOURCE)
            file.flush()
            s = Server("--ctx", "256", "--batch", "2", "--chat-template", file.name)
            try:
                for tools in ([], [TOOL]):
                    prompt = lambda **more: s.ask("/apply-template", {"messages": [{"role": "user", "content": "What is today?"}], "tools": tools, **more})["prompt"]
                    days = {(datetime.datetime.now() + datetime.timedelta(minutes=m)).strftime("%d %b %Y") for m in (-1, 0)}
                    self.assertTrue(any(day in prompt() for day in days))
                    self.assertEqual('"name": "test"' in prompt(), bool(tools))
                    self.assertTrue(prompt().endswith("<|im_start|>assistant\n"))
                    self.assertTrue(prompt(chat_template_kwargs={"enable_thinking": False}).endswith("<think>\n\n</think>\n\n"))
                    self.assertFalse(prompt(add_generation_prompt=False).endswith("<|im_start|>assistant\n"))
                talk = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64, "tools": [TOOL]}
                one = s.ask("/v1/chat/completions", {**talk, "tool_choice": "required", "parallel_tool_calls": False})["choices"][0]
                self.assertEqual([(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in one["message"]["tool_calls"]], [("test", {"success": True})])
                self.assertFalse(one["message"]["content"])
                for more in ({"tool_choice": "none"}, {"tools": [], "tool_choice": "auto"}):
                    free = s.ask("/v1/chat/completions", {**talk, **more})["choices"][0]["message"]
                    self.assertFalse(free.get("tool_calls"))
            finally:
                self.assertEqual(s.stop(), 0)


class Embedding(Served):
    """The golden vectors are those of sentence-transformers."""

    models = ("golden=" + os.path.join(GOLDEN, "st-mean"),)

    def test_vectors(self):
        golden = strings("st-mean")
        got = self.ask("/v1/embeddings", {"input": [g["text"] for g in golden]})
        self.assertEqual([d["index"] for d in got["data"]], list(range(len(golden))))
        for d, g in zip(got["data"], golden):
            self.assertAlmostEqual(sum(x * x for x in d["embedding"]), 1, places=5)
            self.assertLess(1 - sum(x * y for x, y in zip(d["embedding"], g["embedding"])), 1e-4)
            self.assertEqual(self.ask("/v1/embeddings", {"input": g["text"]})["data"][0]["embedding"], d["embedding"])
        self.assertEqual(got["usage"], {k: sum(len(g["ids"]) for g in golden) for k in ("prompt_tokens", "total_tokens")})

    def test_base64_holds_the_same_numbers(self):
        text = strings("st-mean")[0]["text"]
        plain = self.ask("/v1/embeddings", {"input": text})["data"][0]["embedding"]
        packed = base64.b64decode(self.ask("/v1/embeddings", {"input": text, "encoding_format": "base64"})["data"][0]["embedding"])
        self.assertEqual([struct.unpack("<f", struct.pack("<f", x))[0] for x in plain], list(struct.unpack(f"<{len(plain)}f", packed)))

    def test_what_is_no_input(self):
        for value in ([], {"content": "string"}, [{"type": "image_url"}], 5, None, [[1.5]], ["a", 3]):
            self.ask("/v1/embeddings", {"input": value}, 400)
        error = self.ask("/v1/embeddings", {"input": "a cat sleeps. " * 512}, 400)["error"]
        self.assertRegex(error["message"], r"\d+ tokens, at most \d+")

    def test_it_does_not_generate(self):
        for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/chat/completions", {"messages": TALK})):
            self.assertEqual(self.ask(path, body, 400)["error"]["param"], "model")


class Rerank(Served):
    models = ("golden=" + os.path.join(GOLDEN, "cross"),)

    def test_scores(self):
        pairs = strings("cross")
        queries = {}
        for p in pairs:
            queries.setdefault(p["query"], []).append(p)
        for query, documents in queries.items():
            got = self.ask("/v1/rerank", {"query": query, "documents": [d["document"] for d in documents]})
            scores = {r["index"]: r["relevance_score"] for r in got["results"]}
            self.assertEqual([r["relevance_score"] for r in got["results"]], sorted(scores.values(), reverse=True))
            for i, d in enumerate(documents):
                self.assertAlmostEqual(scores[i], 1 / (1 + math.exp(-d["logit"])), delta=1e-4)
            self.assertEqual(got["usage"]["prompt_tokens"], sum(len(d["ids"]) for d in documents))

    def test_top_n(self):
        documents = [p["document"] for p in strings("cross")]
        whole = self.ask("/v1/rerank", {"query": "a cat", "documents": documents})["results"]
        for n in (1, 2, len(documents), 99):
            self.assertEqual(self.ask("/v1/rerank", {"query": "a cat", "documents": documents, "top_n": n})["results"], whole[:n])
        shown = self.ask("/v1/rerank", {"query": "a cat", "documents": documents, "return_documents": True})["results"]
        self.assertTrue(all(r["document"]["text"] == documents[r["index"]] for r in shown))

    def test_what_is_no_request(self):
        for documents in ([], None, 123, [1, 2, 3]):
            self.ask("/v1/rerank", {"query": "Machine learning is", "documents": documents}, 400)
        self.ask("/v1/rerank", {"documents": ["a"]}, 400)


if __name__ == "__main__":
    import sys
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
