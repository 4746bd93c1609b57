"""A Hugging Face Hub in memory, on 127.0.0.1: what is needed to create, upload, list and download repositories."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from tiny import ROOT

SECRET = "hf_" + "x" * 34
LARGE = (".safetensors", ".parquet", ".png", ".jpg")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = "0" * 40

    def entries(self, folder: str, recursive: bool) -> list[dict]:
        """Return the files and folders below `folder` in the form of the tree endpoint."""
        entries = {}
        for path, content in self.files.items():
            inner = path.removeprefix(f"{folder}/") if folder else path
            if folder and inner == path:
                continue
            parts = inner.split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                name = "/".join(filter(None, [folder, *parts[:depth]]))
                entries[name] = {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
            if recursive or len(parts) == 1:
                oid = hashlib.sha1(content).hexdigest()
                entries[path] = {"type": "file", "path": path, "size": len(content), "oid": oid}
        return list(entries.values())


class Hub:
    """A Hub that serves at `url` within a `with` block.

    `repositories` maps (type, id) to the uploaded repositories. `requests` lists the method, path and headers of every
    request.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict]] = []
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    def respond(self, status: int, body: bytes | dict | list = b"", **headers: str) -> None:
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content_Type": "application/json", **headers}
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def not_found(self, code: str) -> None:
        self.respond(404, {"error": code}, X_Error_Code=code)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        self.path_only, self.query = unquote(url.path), parse_qs(url.query)
        self.hub.requests.append((self.command, self.path_only, dict(self.headers)))
        for pattern, method in ROUTES:
            match = re.fullmatch(pattern, self.path_only)
            if match:
                method(self, body, *match.groups())
                return
        self.not_found("EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def validate(self, body: bytes) -> None:
        self.respond(200, {"errors": [], "warnings": []})

    def create(self, body: bytes) -> None:
        options = json.loads(body)
        name = f"{options.get('organization') or 'tester'}/{options['name']}"
        key = (options.get("type") or "model", name)
        answer = {"url": f"{self.hub.url}/{name}", "id": name, "name": name}
        if key in self.hub.repositories:
            self.respond(409, answer | {"error": "exists"})
            return
        self.hub.repositories[key] = Repository(options.get("visibility") == "private" or bool(options.get("private")))
        self.respond(200, answer)

    def large_batch(self, body: bytes, *_) -> None:
        objects = []
        for entry in json.loads(body)["objects"]:
            action = {"upload": {"href": f"{self.hub.url}/_objects/{entry['oid']}", "header": {}}}
            objects.append({"oid": entry["oid"], "size": entry["size"], "authenticated": True, "actions": action})
        self.respond(200, {"transfer": "basic", "objects": objects})

    def put_object(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self.respond(200)

    def repository(self, body: bytes, kinds: str, name: str, rest: str | None) -> None:
        repository = self.hub.repositories.get((kinds[:-1], name))
        if repository is None:
            self.not_found("RepoNotFound")
            return
        action, _, argument = (rest or "revision/main").partition("/")
        getattr(self, f"repository_{action.replace('-', '_')}")(repository, name, argument, body)

    def repository_preupload(self, repository: Repository, name: str, revision: str, body: bytes) -> None:
        files = [
            {"path": entry["path"], "uploadMode": "lfs" if entry["path"].endswith(LARGE) else "regular"}
            for entry in json.loads(body)["files"]
        ]
        self.respond(200, {"files": [file | {"shouldIgnore": False, "oid": None} for file in files]})

    def repository_commit(self, repository: Repository, name: str, revision: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.objects[value["oid"]]
        repository.commit = hashlib.sha1(repository.commit.encode() + body).hexdigest()
        commit_url = f"{self.hub.url}/{name}/commit/{repository.commit}"
        self.respond(200, {"success": True, "commitOid": repository.commit, "commitUrl": commit_url})

    def repository_revision(self, repository: Repository, name: str, revision: str, body: bytes) -> None:
        siblings = [{"rfilename": path} for path in repository.files]
        info = {"_id": "0" * 24, "id": name, "modelId": name, "sha": repository.commit, "private": repository.private}
        self.respond(200, info | {"tags": [], "downloads": 0, "likes": 0, "siblings": siblings})

    def repository_tree(self, repository: Repository, name: str, argument: str, body: bytes) -> None:
        folder = argument.partition("/")[2]
        entries = repository.entries(folder, self.query.get("recursive", ["false"])[0].lower() == "true")
        if folder and not entries:
            self.not_found("EntryNotFound")
        else:
            self.respond(200, entries)

    def download(self, body: bytes, kinds: str | None, name: str, revision: str, path: str) -> None:
        repository = self.hub.repositories.get(((kinds or "models")[:-1], name))
        if repository is None:
            self.not_found("RepoNotFound")
            return
        content = repository.files.get(path)
        if content is None:
            self.respond(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=repository.commit)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.respond(200, content, X_Repo_Commit=repository.commit, ETag=etag)


ROUTES = [
    (r"/api/validate-yaml", Handler.validate),
    (r"/api/repos/create", Handler.create),
    (r"/(?:(?:datasets|spaces)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", Handler.large_batch),
    (r"/_objects/(\w+)", Handler.put_object),
    (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?", Handler.repository),
    (r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", Handler.download),
]


def environment(hub: Hub, home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process that uses only this Hub, with an empty cache in `home`."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    return os.environ | settings | {"HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets")} | variables


def push(hub: Hub, home: Path, *argv: str) -> str:
    """Run push_to_hub.py in a process and return what it prints."""
    command = [sys.executable, str(ROOT / "push_to_hub.py"), *argv]
    result = subprocess.run(command, env=environment(hub, home, HF_TOKEN=SECRET), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr
