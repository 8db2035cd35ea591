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
from urllib.parse import parse_qs

import yaml

FIRST = 0x0123456789ABCDEF0123456789ABCDEF01234567
COMMITS = ".commits"  # folder in a repository's: its files at each commit
TOKEN = "good"


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        root: holds a folder for each repository; those of data sets are in `datasets/`.
        breaks: whether uploads of large files are cut off.
        private: names of repositories that were made private.
        titles: first lines of the commits by repository, the oldest first.
        last: first line of the last commit that wrote a file, by repository and file; files that tests wrote have none.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.breaks, self.private = root, False, set[str]()
        self.titles: dict[str, list[str]] = {}
        self.last: dict[tuple[str, str], str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str) -> list[Path]:
        return sorted(path for path in (self.root / name).rglob("*") if path.is_file() and COMMITS not in path.parts)

    def keep(self, name: str, commit: str = "") -> str:
        """Keep the files of a repository as they are as its newest commit; returns that."""
        commits = self.root / name / COMMITS
        commit = commit or f"{FIRST + len(self.commits(name)):040x}"
        for path in self.files(name):
            target = commits / commit / path.relative_to(self.root / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        return commit

    def commits(self, name: str) -> list[str]:
        folder = self.root / name / COMMITS
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def at(self, name: str, revision: str = "main") -> tuple[str, Path] | None:
        """A commit and the folder of its files; what tests wrote into the repository's folder is its first one."""
        if not (self.root / name).is_dir():
            return None
        commits = self.commits(name) or [self.keep(name)]
        commit = commits[-1] if revision in ("main", "None") else revision
        return (commit, self.root / name / COMMITS / commit) if commit in commits else None


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
        elif "paths-info" in parts:
            self.paths_info(repository(parts), parts[parts.index("paths-info") + 1], body)
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
        if not exists and (wanted.get("private") or wanted.get("visibility") == "private"):
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
                self.server.titles.setdefault(name, []).append(value["summary"])
                continue
            place = self.server.root / name / value["path"]
            self.server.last[name, value["path"]] = self.server.titles[name][-1]
            if entry["key"] == "deletedFile":
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if entry["key"] == "file":
                place.write_bytes(base64.b64decode(value["content"]))
            else:
                place.write_bytes((self.server.root / ".lfs" / value["oid"]).read_bytes())
        commit = self.server.keep(name)
        url = f"{self.server.url}/{name}/commit/{commit}"
        self.answer({"success": True, "commitUrl": url, "commitOid": commit, "hookOutput": ""})

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            if not self.refused():
                self.answer({"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        elif parts[:2] == ["api", "models"] and parts[4:5] == ["commits"]:
            self.log(repository(parts))
        elif parts[:2] in (["api", "models"], ["api", "datasets"]):
            revision = parts[5] if len(parts) > 5 and parts[4] in ("revision", "tree") else "main"
            self.about(repository(parts), revision, tree="tree" in parts)
        elif "resolve" in parts:
            place = parts.index("resolve")
            self.resolve("/".join(parts[:place]), parts[place + 1], "/".join(parts[place + 2 :]))
        else:
            self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def log(self, name: str) -> None:
        """Answer with the commits, the newest first."""
        commits = []
        for title in reversed(self.server.titles.get(name, [])):
            commits.append({"id": title, "title": title, "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"})
        self.answer(commits)

    def about(self, name: str, revision: str, *, tree: bool) -> None:
        known = self.server.at(name, revision)
        if known is None:
            kind = "RevisionNotFound" if (self.server.root / name).is_dir() else "RepoNotFound"
            self.answer({"error": "not found"}, 404, X_Error_Code=kind)
            return
        commit, folder = known
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        if tree:
            self.answer([entry(folder, name) for name in names])
            return
        card = folder / "README.md"
        data = yaml.safe_load(card.read_text().split("---")[1]) if card.is_file() and card.read_text()[:3] == "---" else {}
        about = {"id": name.removeprefix("datasets/"), "sha": commit, "tags": [], "downloads": 0, "likes": 0}
        about["private"] = name in self.server.private
        self.answer(about | {"siblings": [{"rfilename": file} for file in names], "cardData": data})

    def paths_info(self, name: str, revision: str, body: bytes) -> None:
        known = self.server.at(name, revision)
        asked = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
        wanted = asked.get("paths", [])
        found = [] if known is None else [entry(known[1], path) for path in wanted if (known[1] / path).is_file()]
        if str(asked.get("expand", [""])[0]).lower() == "true":
            for fact in found:
                title = self.server.last.get((name, fact["path"]), "Add a file by hand")
                fact["lastCommit"] = {"id": FIRST, "title": title, "date": "2026-01-01T00:00:00.000Z"}
        self.answer(found)

    def resolve(self, name: str, revision: str, file: str) -> None:
        known = self.server.at(name, revision)
        if known is None or not (known[1] / file).is_file():
            commit = {"X_Repo_Commit": known[0]} if known else {}
            self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", **commit)
            return
        content = (known[1] / file).read_bytes()
        self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=known[0])


def repository(parts: list[str]) -> str:
    """The name of the repository in a path /api/models/OWNER/NAME/… or /api/datasets/…."""
    name = "/".join(parts[2:4])
    return f"datasets/{name}" if parts[1] == "datasets" else name


def entry(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


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
