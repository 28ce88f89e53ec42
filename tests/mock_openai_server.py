#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server for tests, on loopback, that does what the prompt says: mock_openai_server.py ROOT. ROOT/port gets the
port, ROOT/log a line a request (JSON: key, path, body), ROOT/times one a streamed answer (JSON: when each piece was sent, seconds).
The last message or the prompt is a script, words behind "SCRIPT"; anything else is answered by three words:
  wait S       sleep            say TEXT       an event with this text ("_" is a space)      role      an event with a role alone
  comment      ": ping"         empty          an event whose choices are empty              finish R  an event with a finish_reason
  usage P C    the usage event  done           [DONE]                                        raw TEXT  these bytes ("_" space, "|" newline)
  cut          the connection breaks           bundle A B ...  one write with an event a word, up to the next comma
  status N     answer with N and an error      header N V  a header of the answer            split S   the next event in two writes, S apart
"""
import http.server
import json
import os
import socket
import sys
import time

from loopback import serve

ROOT = sys.argv[1]
KNOWN = {"wait": 1, "say": 1, "role": 0, "comment": 0, "empty": 0, "finish": 1, "usage": 2, "done": 0, "raw": 1, "cut": 0, "status": 1,
         "header": 2, "split": 1}


def append(name, value):
    with open(os.path.join(ROOT, name), "a") as f:
        f.write(json.dumps(value) + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def whole(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.whole(200, {"status": "ok"})
        if self.path == "/v1/models":
            return self.whole(200, {"object": "list", "data": [{"id": "mock", "object": "model"}]})
        self.whole(404, {"error": {"message": "no such route", "type": "x", "param": None, "code": None}})

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, value):
        data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
        if self.split:
            self.chunk(data[:9])
            time.sleep(self.split)
            self.split = 0
            data = data[9:]
        self.chunk(data)

    def piece(self, delta, reason=None):
        choice = {"index": 0, "finish_reason": reason}
        choice.update({"delta": delta} if self.chat else {"text": delta.get("content", "")})
        return {"id": "x", "object": "chunk", "choices": [choice]}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        append("log", {"key": self.headers.get("Authorization"), "path": self.path, "body": body})
        self.chat = self.path == "/v1/chat/completions"
        self.split = 0
        text = body["messages"][-1]["content"] if self.chat else body["prompt"]
        script = "say one say two say three finish length usage 7 3 done"
        if isinstance(text, str) and "SCRIPT" in text:
            script = text.split("SCRIPT", 1)[1]
        words = script.split()
        headers, times = [], []
        while words and words[0] == "header":
            headers.append(words[1:3])
            words = words[3:]
        if words and words[0] == "status":
            return self.whole(int(words[1]), {"error": {"message": "as the script says", "type": "x", "param": None, "code": None}})
        begun = False

        def begin():
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        while words:
            word = words.pop(0)
            if word == "wait":
                time.sleep(float(words.pop(0)))
                continue
            if not begun:
                begun = True
                begin()
            if word == "bundle":
                rest = " ".join(words).split(",", 1)
                items = rest[0].split()
                words = rest[1].split() if len(rest) > 1 else []
                self.chunk(b"".join(b"data: " + json.dumps(self.piece({"content": i})).encode() + b"\n\n" for i in items))
                times += [time.monotonic()] * len(items)
                continue
            args = [words.pop(0) for _ in range(KNOWN[word])]
            if word in ("say", "role", "finish"):
                delta = {"role": "assistant"} if word == "role" else {"content": args[0].replace("_", " ")} if word == "say" else {}
                self.event(self.piece(delta, args[0] if word == "finish" else None))
                times.append(time.monotonic())
            elif word == "comment":
                self.chunk(b": ping\n\n")
            elif word == "empty":
                self.event({"id": "x", "choices": []})
            elif word == "usage":
                self.event({"id": "x", "choices": [], "usage": {"prompt_tokens": int(args[0]), "completion_tokens": int(args[1]),
                                                                "prompt_tokens_details": {"cached_tokens": 2}}})
            elif word == "done":
                append("times", times)  # before the client can be done with it
                self.event(b"[DONE]")
            elif word == "raw":
                self.chunk(args[0].replace("_", " ").replace("|", "\n").encode())
            elif word == "split":
                self.split = float(args[0])
            elif word == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


serve(Handler, ROOT)
