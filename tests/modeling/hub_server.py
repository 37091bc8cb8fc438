"""As much of the Hugging Face hub as uploading and downloading a model takes, on this machine."""

import base64
import hashlib
import json
import re
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.data.web_server import served


class Hub(ThreadingHTTPServer):
    """Repositories as mappings of file names to bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.downloaded: list[str] = []
        self.gated: set[str] = set()
        self.revisions = {"main"}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repository: str) -> str:
        text = repr(sorted(self.files[repository].items())).encode()
        return hashlib.sha1(text).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The requests that huggingface_hub makes."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, what: str) -> None:
        self.send(b"{}", 404, {"X-Error-Code": f"{what}NotFound", "X-Error-Message": f"{what} not found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.files.setdefault(name, {})
            self.server.private[name] = asked.get("visibility") == "private" or asked.get("private") is True
            return self.answer({"url": f"{self.server.address}/{name}", "id": name})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if not found or found[1] not in self.server.files:
            return self.missing("Repo")
        if found[2] == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer({"files": modes})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.files[found[1]][entry["value"]["path"]] = content
            elif entry["key"] == "deletedFile":
                del self.server.files[found[1]][entry["value"]["path"]]
        commit = self.server.commit(found[1])
        url = f"{self.server.address}/{found[1]}/commit/{commit}"
        return self.answer({"commitUrl": url, "commitOid": commit})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+)(/.+)?)?", path):
            if found[1] not in self.server.files:
                return self.missing("Repo")
            if found[1] in self.server.gated:
                return self.send(b"{}", 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            commit = self.server.commit(found[1])
            if found[3] and found[3] not in {*self.server.revisions, commit}:
                return self.missing("Revision")
            if found[4]:  # there are no folders
                return self.missing("Entry")
            files = self.server.files[found[1]]
            if found[2] == "tree":
                entries = [
                    {"type": "file", "path": name, "size": len(text), "oid": hashlib.sha1(text).hexdigest()}
                    for name, text in files.items()
                ]
                return self.answer(entries)
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": found[1], "sha": self.server.commit(found[1]), "siblings": siblings})
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if not found or found[1] not in self.server.files:
            return self.missing("Repo")
        content = self.server.files[found[1]].get(found[2])
        if content is None:
            return self.missing("Entry")
        if self.command == "GET":
            self.server.downloaded.append(found[2])
        tag, commit = f'"{hashlib.sha1(content).hexdigest()}"', self.server.commit(found[1])
        return self.send(content, 200, {"ETag": tag, "X-Repo-Commit": commit})

    do_HEAD = do_GET


def running_hub() -> AbstractContextManager[Hub]:
    """A hub that answers until the end of the block."""
    return served(Hub())
