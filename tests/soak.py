#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server under mixed load for a long time: what it answers stays right, its memory stays flat, its times stay what they were.

usage: tests/soak.py VIBEE MODEL [--minutes N] [--clients N] [--adapters] [--faults LIBRARY] [--record FILE]
Clients ask for texts behind 24 beginnings that share too few pages (radix tree, disk tier below), for schemas, for tokens; one in twenty leaves
in the middle, one in twenty sends what is no request. Every 20 s the policy changes, every minute the keys are read again, with --adapters
(of SmolLM2-135M) one of three is swapped for the next every 5 s under requests that name them, and with --faults an allocation, a read, a write or a send fails. Ends with 1 when an answer was wrong or failed without such a cause, or memory grew.
"""
import argparse
import collections
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time

import faults
from lora_adapter import write_adapter
from served import Server

WINDOWS = 6
SCHEMAS = [{"type": "object", "properties": {name: {"type": "integer", "minimum": 0, "maximum": high}}, "required": [name], "additionalProperties": False}
           for name in ("age", "size", "count") for high in range(9, 109)]
BROKEN = [b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"\x16\x03\x01\x00\xa5nonsense\r\n\r\n",
          b"POST /v1/completions HTTP/1.1\nHost: localhost\n\n", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"]
WRONG = [{"prompt": "a", "n": -1}, {"prompt": [-5]}, {"prompt": "a", "logprobs": 1 << 40}, {"prompt": "a", "grammar": {"type": "regex", "value": "(a+)+("}},
         {"prompt": "word " * 5000}, {"prompt": "a", "max_tokens": 1e300}]
KEY = "key-of-the-soak"


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else None


class Soak:
    def __init__(self, a, folder):
        self.a = a
        self.keys = os.path.join(folder, "keys")
        with open(self.keys, "w") as f:
            f.write(f"soak all {KEY}\n")
        for i in range(3 if a.adapters else 0):
            write_adapter(f"{folder}/adapters/a{i}", i)
        self.loaded, self.swapped = None, 0         # an adapter, and when it was another
        self.faults = faults.Faults(os.path.abspath(a.faults)) if a.faults else None
        self.server = Server("--ctx", "512", "--batch", "8", "--queue", "64", "--api-keys", self.keys, "--kv-disk", f"{folder}/pages,64M",
                             *(["--adapter-root", f"{folder}/adapters", "--max-loras", "4"] if a.adapters else []), models=(a.model,), env=self.faults.environment() if self.faults else None)
        self.lock = threading.Lock()
        self.begun = time.time()
        self.end = self.begun + 60 * a.minutes
        self.known = {}                             # request -> the digest of its text
        self.counts = collections.Counter()
        self.times = [collections.defaultdict(list) for _ in range(WINDOWS)]
        self.tokens = [0] * WINDOWS                 # generated, by window
        self.uncaused = []
        self.fault_from = self.fault_to = 0         # errors between the two have a cause

    def window(self):
        return min(WINDOWS - 1, int((time.time() - self.begun) / (60 * self.a.minutes) * WINDOWS))

    def went_wrong(self, since, what):
        with self.lock:
            if self.faults and since <= self.fault_to and time.time() >= self.fault_from:
                self.counts["failed by a planted fault"] += 1
            else:
                self.uncaused.append(f"{time.time() - self.begun:.1f} s: {what}")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)

    def post(self, path, body, leaves=False):
        """(status, text, seconds to the first byte of the body, to the last)."""
        c, begun = self.connect(), time.time()
        try:
            c.request("POST", path, json.dumps(body), {"Authorization": "Bearer " + KEY})
            r = c.getresponse()
            text = r.read(1 if r.status == 200 else None)
            first = time.time() - begun
            if not leaves:
                text += r.read()
            return r.status, text.decode(), first, time.time() - begun
        finally:
            c.close()

    def text_of(self, random):
        prefix, own = min(23, int(random.paretovariate(0.7)) - 1), random.randrange(6)
        prompt = [100 + (prefix * 7919 + 31 * i) % 150 for i in range(300)] + [100 + (own * 13 + i) % 150 for i in range(20)]
        body = {"prompt": prompt, "max_tokens": random.choice((8, 16, 24)), "seed": own, "ignore_eos": True, "stream": random.random() < 0.7}
        if self.loaded and random.random() < 0.3:
            body["model"] = self.loaded
        return "/v1/completions", body

    def schema_of(self, random):
        schema = random.choice(SCHEMAS)
        return "/v1/chat/completions", {"messages": [{"role": "user", "content": "How many?"}], "max_tokens": 24, "seed": 1, "stream": False, "response_format": {
            "type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}

    def answered(self, path, body):
        """Asks, and holds the answer to the one of before."""
        since = time.time()
        status, text, first, last = self.post(path, body)
        window = self.window()
        if status == 404 and body.get("model", self.loaded) != self.loaded or status == 404 and since <= self.swapped:
            self.counts["asked for an adapter that had gone"] += 1
            return None
        if status != 200:
            return self.went_wrong(since, f"{path}: {status}: {text[:200]}")
        if body["stream"]:
            lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
            if not lines or lines[-1] != "[DONE]":
                return self.went_wrong(since, f"{path}: the stream ended with {text[-200:]}")
            choices = [json.loads(line)["choices"][0] for line in lines[:-1]]
        else:
            choices = json.loads(text)["choices"]
        said = "".join(c["text"] if "text" in c else c["message"]["content"] for c in choices)
        digest = hashlib.sha256(said.encode()).hexdigest()
        name = json.dumps({**body, "stream": None}, sort_keys=True)
        with self.lock:
            before = self.known.setdefault(name, digest)
            self.counts["right" if before == digest else "WRONG"] += 1
            self.tokens[window] += body["max_tokens"]
            self.times[window]["to the end"].append(last)
            if body["stream"]:
                self.times[window]["to the first token"].append(first)
        if before != digest:
            self.went_wrong(0, f"another text than before: {said[:100]}")

    def client(self, number):
        r = random.Random(number)
        while time.time() < self.end:
            kind, since = r.random(), time.time()
            try:
                if kind < 0.05:
                    self.post(*self.text_of(r), leaves=True)
                    self.counts["left in the middle"] += 1
                elif kind < 0.08:
                    with socket.create_connection(("127.0.0.1", self.server.port), 30) as s:
                        s.sendall(r.choice(BROKEN))
                        s.settimeout(30)
                        s.recv(4096)
                    self.counts["no HTTP"] += 1
                elif kind < 0.1:
                    status, text, _, _ = self.post("/v1/completions", r.choice(WRONG))
                    if status != 400:
                        self.went_wrong(since, f"a wrong request got {status}: {text[:200]}")
                    self.counts["wrong requests"] += 1
                elif kind < 0.15:
                    status, text, _, _ = self.post("/tokenize", {"content": "One text or another " * r.randrange(50)})
                    if status != 200:
                        self.went_wrong(since, f"/tokenize: {status}: {text[:200]}")
                else:
                    self.answered(*(self.schema_of(r) if kind < 0.3 else self.text_of(r)))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as e:
                if kind >= 0.08 or kind < 0.05:
                    self.went_wrong(since, repr(e))
            time.sleep(r.expovariate(1 / self.a.pause))

    def change(self, turn):
        """What an operator does while it runs, and what fate does."""
        c = self.connect()
        c.request("PUT", "/admin/config", json.dumps({"policy": ("chunked", "orca", "request")[turn % 3], "order": ("vtc", "fcfs", "lpm")[turn % 3]}),
                  {"Authorization": "Bearer " + KEY})
        c.getresponse().read()
        c.close()
        self.counts["changes of policy"] += 1
        if turn % 3 == 0:
            self.server.process.send_signal(signal.SIGHUP)
            self.counts["keys read again"] += 1
        if self.faults:
            r = random.Random(turn)
            kinds, thread = r.choice(((faults.ALLOC, faults.HTTP), (faults.ALLOC, faults.ENGINE), (faults.ALLOC, faults.DISK), (faults.SEND, ""),
                                      (faults.RECEIVE, ""), (faults.READ, ""), (faults.WRITE, faults.DISK), (faults.ACCEPT, "")))
            self.fault_from, self.fault_to = time.time(), float("inf")
            self.faults.arm(kinds, r.randrange(1, 200 if kinds == faults.ALLOC else 6), thread=thread)
            for _ in range(50):
                time.sleep(0.1)
                if self.faults.fired():
                    break
            self.counts["planted faults"] += self.faults.disarm()[1]
            self.fault_to = time.time() + 1

    def swap(self, turn):
        """Another adapter is loaded, the one of before let go when nobody uses it; requests name either."""
        before, self.loaded = self.loaded, f"a{turn % 3}"
        since = time.time()
        self.swapped = float("inf")
        for path, body in [("/v1/load_lora_adapter", {"lora_name": self.loaded, "lora_path": self.loaded})] + (
                [("/v1/unload_lora_adapter", {"lora_name": before, "drain": True})] if before else []):
            status, text, _, _ = self.post(path, body)
            if status != 200:
                self.went_wrong(since, f"{path}: {status}: {text[:200]}")
        self.swapped = time.time()
        self.counts["swaps of an adapter"] += 1

    def state(self):
        pid = self.server.process.pid
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
        ticks = sum(int(t) for t in open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
        return {"s": round(time.time() - self.begun, 1), "load": os.getloadavg()[0], "resident_kib": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]),
                "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "cpu_s": ticks / os.sysconf("SC_CLK_TCK")}

    def run(self):
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.a.clients)]
        for t in threads:
            t.start()
        states, turn, swaps = [], 0, 0
        while time.time() < self.end and self.server.process.poll() is None:
            states.append(self.state())
            if (time.time() - self.begun) / 20 > turn:
                try:
                    self.change(turn)
                except (OSError, http.client.HTTPException) as e:
                    self.went_wrong(time.time(), f"/admin/config: {e!r}")
                turn += 1
            if self.a.adapters and (time.time() - self.begun) / 5 > swaps:
                try:
                    self.swap(swaps)
                except (OSError, http.client.HTTPException) as e:
                    self.went_wrong(time.time(), f"adapters: {e!r}")
                swaps += 1
            time.sleep(1)
        for t in threads:
            t.join()
        alive = self.server.process.poll() is None
        metrics = self.server.request("GET", "/metrics", key=KEY).text.decode() if alive else ""
        locked = [line.split()[-1] for line in metrics.split("\n") if line.startswith("vibee_kv_pages") and "locked" in line]
        time.sleep(1)
        rest = self.state() if alive else {}
        status = self.server.stop() if alive else self.server.process.returncode
        return self.report(states, rest, status, locked)

    def report(self, states, rest, status, locked):
        by_minute, seconds = collections.defaultdict(int), 60 * self.a.minutes
        for s in states:
            by_minute[int(s["s"] // max(1, seconds / 30))] = max(by_minute[int(s["s"] // max(1, seconds / 30))], s["resident_kib"])
        warm = max(s["resident_kib"] for s in states if s["s"] <= seconds / 3)
        late = max(s["resident_kib"] for s in states if s["s"] > seconds / 3)
        cpu = [[s["cpu_s"] for s in states if int(s["s"] / seconds * WINDOWS) == w] for w in range(WINDOWS)]
        per_token = [(c[-1] - c[0]) / n * 1e3 if len(c) > 1 and n else None for c, n in zip(cpu, self.tokens)]
        p99 = {what: [quantile(w[what], 0.99) for w in self.times] for what in ("to the first token", "to the end")}
        drift = {what: v[-1] / v[1] - 1 for what, v in p99.items() if v[1] and v[-1]}
        grown = late / warm - 1
        checks = {"no error without a cause": not self.uncaused, "no wrong text": self.counts["WRONG"] == 0, "ended with 0": status == 0,
                  "no page locked at the end": locked == ["0"], "resident memory within 1 % (or 2 MiB) of that of the first third":
                  grown <= 0.01 or late - warm <= 2048}
        return {"minutes": self.a.minutes, "clients": self.a.clients, "model": os.path.basename(self.a.model), "faults": bool(self.faults),
                "checks": checks, "requests": dict(self.counts), "uncaused": self.uncaused[:50],
                "resident_kib": {"by thirtieth": [v for _, v in sorted(by_minute.items())], "first third": warm, "after it": late, "grown": round(grown, 5)},
                "seconds_p99_by_window": {k: [x and round(x, 4) for x in v] for k, v in p99.items()}, "p99_drift": {k: round(v, 3) for k, v in drift.items()},
                "load_average": round(sum(s["load"] for s in states) / len(states), 1),  # beside others the times say nothing
                "server_cpu_ms_per_token_by_window": [x and round(x, 4) for x in per_token], "tokens_by_window": self.tokens,
                "begin": states[0], "end": rest}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vibee")
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between two requests of a client")
    parser.add_argument("--adapters", action="store_true", help="swap adapters; MODEL has SmolLM2-135M's shape")
    parser.add_argument("--faults", help="libfault_inject.so")
    parser.add_argument("--record")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = Soak(a, folder).run()
    result = {"date": time.strftime("%Y-%m-%d", time.gmtime()), **result}
    text = json.dumps(result, indent=1)
    print(text)
    if a.record:
        with open(a.record + ".part", "w") as f:
            f.write(text + "\n")
        os.replace(a.record + ".part", a.record)
    sys.exit(0 if all(result["checks"].values()) else 1)


if __name__ == "__main__":
    main()
