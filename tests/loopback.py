# SPDX-License-Identifier: Apache-2.0
"""What the servers of tests have in common: a free port of this machine, written to ROOT/port when it listens."""
import http.server
import os


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):  # a client that went away
        pass


def serve(handler: type, root: str) -> None:
    server = Server(("127.0.0.1", 0), handler)
    with open(os.path.join(root, "port.tmp"), "w") as f:
        f.write(str(server.server_address[1]))
    os.rename(os.path.join(root, "port.tmp"), os.path.join(root, "port"))
    server.serve_forever()
