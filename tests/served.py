# SPDX-License-Identifier: Apache-2.0
"""A `vibee serve` of its own for tests; their first two arguments are the binary and the model."""
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time

VIBEE, MODEL = sys.argv[1:3]
TALK = [{"role": "user", "content": "Why is the sky blue?"}]


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
