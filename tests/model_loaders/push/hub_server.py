"""A small hub on this machine: the endpoints that an upload and a download use, over a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "good"


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        root: holds a folder for each repository.
        breaks: whether uploads of large files are cut off.
        private: names of repositories that were made private.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.breaks, self.private = root, False, set[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str) -> list[Path]:
        folder = self.root / name
        return sorted(path for path in folder.rglob("*") if path.is_file())


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refused(self) -> bool:
        """Answer a wrong token."""
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return False
        self.answer({"error": "Invalid username or password."}, 401)
        return True

    def do_POST(self) -> None:
        body = self.body()
        if self.refused():
            return
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = json.loads(body)["files"]
            modes = ["lfs" if file["path"].endswith((".safetensors", ".onnx")) else "regular" for file in files]
            listed = zip(files, modes, strict=True)
            self.answer({"files": [{"path": f["path"], "uploadMode": m, "shouldIgnore": False} for f, m in listed]})
        elif self.path.endswith("info/lfs/objects/batch"):
            objects = []
            for wanted in json.loads(body)["objects"]:
                action = {"href": f"{self.server.url}/lfs/{wanted['oid']}", "header": {}}
                objects.append(wanted | {"authenticated": True, "actions": {"upload": action}})
            self.answer({"transfer": "basic", "objects": objects})
        elif "commit" in parts:
            self.commit("/".join(parts[2:4]), body)
        else:
            self.answer({"error": f"no {self.path}"}, 404)

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        exists = (self.server.root / name).is_dir()
        (self.server.root / name).mkdir(parents=True, exist_ok=True)
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.server.private.add(name)
        self.answer({"url": f"{self.server.url}/{name}", "id": name, "name": name}, 409 if exists else 200)

    def do_PUT(self) -> None:
        if self.server.breaks:
            self.rfile.read(10)
            self.connection.close()
            return
        content = self.body()
        place = self.server.root / ".lfs" / self.path.rsplit("/", 1)[-1]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        assert hashlib.sha256(content).hexdigest() == place.name
        self.answer({})

    def commit(self, name: str, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                continue
            place = self.server.root / name / value["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry["key"] == "file":
                place.write_bytes(base64.b64decode(value["content"]))
            else:
                place.write_bytes((self.server.root / ".lfs" / value["oid"]).read_bytes())
        url = f"{self.server.url}/{name}/commit/{COMMIT}"
        self.answer({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            if not self.refused():
                self.answer({"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        elif parts[:2] == ["api", "models"]:
            self.about("/".join(parts[2:4]), tree="tree" in parts)
        elif "resolve" in parts:
            self.resolve("/".join(parts[:2]), "/".join(parts[4:]))
        else:
            self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def about(self, name: str, *, tree: bool) -> None:
        folder = self.server.root / name
        if not folder.is_dir():
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return
        names = [path.relative_to(folder).as_posix() for path in self.server.files(name)]
        if tree:
            entries = [{"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": n} for n in names]
            self.answer(entries)
            return
        self.answer({"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "downloads": 0,
                     "likes": 0, "siblings": [{"rfilename": n} for n in names]})  # fmt: skip

    def resolve(self, name: str, file: str) -> None:
        place = self.server.root / name / file
        if not place.is_file():
            self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
            return
        content = place.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self.answer(content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT)


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """Serve a hub from a folder inside the block."""
    root.mkdir(parents=True, exist_ok=True)
    server = Hub(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
