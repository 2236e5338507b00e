"""An endpoint on this machine for tests: it answers as it is told, and keeps what it was sent."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Gives one answer to everything and keeps what it was sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.headers, self.wait, self.drip = 200, b"", {}, 0.0, 0.0
        self.received = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), json.loads(body)))
        time.sleep(self.server.wait)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for byte in self.server.body if self.server.drip else [self.server.body]:
                time.sleep(self.server.drip)
                self.wfile.write(bytes([byte]) if self.server.drip else byte)
                self.wfile.flush()
        except OSError:  # the asker left
            pass

    def log_message(self, *arguments):
        pass


def completion(content, end="stop"):
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": end}]}).encode()
