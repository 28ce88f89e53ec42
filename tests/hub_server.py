#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model hub for tests, on loopback: hub_server.py ROOT. ROOT/OWNER/NAME/... are repositories, ROOT/port gets the port, ROOT/log a
line a request ("PATH range=... token=..."). ROOT/faults, read at every request, makes it misbehave; one a line:
  drop N        the connection breaks after N bytes of a file        flip          one byte of every file is wrong
  status C K    the next K file requests are answered with status C  norange       ranges are ignored
  token T       without this bearer token everything is refused      stall         half of a file, then nothing
  redirect URL  files are elsewhere                                  endless       files do not end, no length is given
  listing FILE  this is what the listing says                        etag E        the tag of every file
"""
import hashlib
import http.server
import json
import os
import sys
import time

from loopback import serve

ROOT = sys.argv[1]
counts = {}


def faults():
    try:
        with open(os.path.join(ROOT, "faults")) as f:
            return {line.split()[0]: line.split()[1:] for line in f if line.strip()}
    except FileNotFoundError:
        return {}


def listing(repo):
    siblings, everything = [], hashlib.sha1()
    for folder, _, names in sorted(os.walk(repo)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            data = open(path, "rb").read()
            item = {"rfilename": os.path.relpath(path, repo), "size": len(data), "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
            if len(data) > 10000:
                item["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            everything.update(data)
            siblings.append(item)
    return json.dumps({"id": "x", "sha": everything.hexdigest(), "siblings": siblings}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        fault = faults()
        path = self.path.split("?")[0]
        token = self.headers.get("Authorization", "")
        with open(os.path.join(ROOT, "log"), "a") as log:
            log.write(f"{path} range={self.headers.get('Range', '')} token={token.removeprefix('Bearer ')}\n")
        if "token" in fault and token != "Bearer " + fault["token"][0]:
            return self.answer(401)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo = os.path.join(ROOT, *parts[2:4])
            if "listing" in fault:
                return self.answer(200, open(os.path.join(ROOT, fault["listing"][0]), "rb").read())
            return self.answer(200, listing(repo)) if os.path.isdir(repo) and parts[5] == "main" else self.answer(404)
        if "redirect" in fault:
            return self.answer(302, headers=[("Location", fault["redirect"][0] + path)])
        if "status" in fault:
            code, most = (int(v) for v in fault["status"])
            counts[code] = counts.get(code, 0) + 1
            if counts[code] <= most:
                return self.answer(code)
        file = os.path.join(ROOT, *(parts[:2] + parts[4:] if len(parts) > 4 else parts))
        if not os.path.isfile(file):
            return self.answer(404)
        data = bytearray(open(file, "rb").read())
        if "flip" in fault:
            data[10] ^= 1
        tag = f'"{fault["etag"][0]}"' if "etag" in fault else ""
        begin = 0
        asked = self.headers.get("Range", "")
        if asked and "norange" not in fault and self.headers.get("If-Range", tag) == tag:
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if tag:
            self.send_header("ETag", tag)
        if "endless" in fault:
            self.send_header("Connection", "close")
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 16))
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        body = bytes(data[begin:])
        if "drop" in fault:
            body = body[: int(fault["drop"][0])]
        if "stall" in fault:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(30)
        self.wfile.write(body)
        if len(body) < len(data) - begin:
            self.close_connection = True
            self.connection.close()


serve(Handler, ROOT)
