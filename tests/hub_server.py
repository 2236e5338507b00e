"""A small server on this machine that answers as Hugging Face and as ModelScope do, and misbehaves on request."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40


class Server(ThreadingHTTPServer):
    """`files` are those of one repository. What was asked is kept: (path with query, headers)."""

    daemon_threads = True

    def __init__(self, repository: str, files: dict[str, bytes], licence: str = "apache-2.0") -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repository, self.files, self.licence = repository, files, licence
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.breaks: dict[str, list[int]] = {}  # file -> after how many bytes each next answer breaks off
        self.wrong: set[str] = set()  # files that come with another content than announced
        self.without_range = False
        self.token: str | None = None  # what is wanted, where something is
        self.redirect: str | None = None  # another server that has the content
        self.statuses: list[int] = []  # for the next downloads
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self) -> list[tuple[str, str | None]]:
        """The files that were asked for, with their ranges."""
        return [(self.file_of(path), headers.get("range")) for path, headers in self.asked if self.file_of(path)]

    @staticmethod
    def file_of(path: str) -> str:
        query = parse_qs(urlsplit(path).query)
        return query["FilePath"][0] if "FilePath" in query else unquote(path.partition(f"/resolve/{COMMIT}/")[2])


class _Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.asked.append((self.path, headers))
        if server.token and headers.get("authorization") != f"Bearer {server.token}":
            return self.send_error(401)
        if file := server.file_of(self.path):
            return self.send_file(file, headers.get("range"))
        if path == f"/api/models/{server.repository}":
            return self.send_json(self.hugging_face())
        if path == f"/api/v1/models/{server.repository}/repo/files":
            return self.send_json({"Code": 200, "Success": True, "Data": {"Files": self.model_scope()}})
        if path == f"/api/v1/models/{server.repository}":
            return self.send_json({"Code": 200, "Success": True, "Data": {"License": server.licence}})
        return self.send_error(404)

    def hugging_face(self) -> dict:
        siblings = []
        for name, content in self.server.files.items():
            entry: dict = {"rfilename": name, "size": len(content)}
            entry["blobId"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 100}
                entry["blobId"] = "0" * 40  # of the pointer, not of the content
            siblings.append(entry)
        card = {"license": "other", "license_name": self.server.licence}
        return {"id": self.server.repository, "sha": COMMIT, "siblings": siblings, "cardData": card, "tags": []}

    def model_scope(self) -> list[dict]:
        blobs = [
            {"Path": name, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
            for name, content in self.server.files.items()
        ]
        return [{"Path": "transformer", "Type": "tree", "Size": 0, "Sha256": ""}, *blobs]

    def send_json(self, value: dict) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_file(self, name: str, asked: str | None) -> None:
        server = self.server
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", f"{server.redirect}{self.path}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content = server.files[name]
        if name in server.wrong:
            content = bytes(len(content))
        start = 0
        if asked and not server.without_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        breaks = server.breaks.get(name)
        self.wfile.write(content[start:][: breaks.pop(0) if breaks else None])
        self.close_connection = True

    def log_message(self, format: str, *values: object) -> None:
        """Says nothing."""
