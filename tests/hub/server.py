"""A Hub on the loopback: what the real client asks of it, with faults on demand.

It knows models, branches, commits with regular and LFS files, private repositories, and refuses a commit whose parent
is not the newest. Faults: the n-th request can be dropped, answered with a status, cut in the middle of its body,
never answered, or answered byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "secretForTestsOnly"
LFS_FROM = 10_000
"""Files from this size on, and all safetensors, go by LFS."""


@dataclass
class Repo:
    """One model repository; a commit is a dictionary of files."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)  # sizes that are lies

    def add(self, files: dict[str, bytes], branch: str = "main") -> str:
        """A commit of exactly these files."""
        text = json.dumps([sorted((k, hashlib.sha1(v).hexdigest()) for k, v in files.items()), len(self.commits)])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = dict(files), sha
        return sha

    def at(self, revision: str) -> str | None:
        """The commit of a branch or commit id."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    @property
    def files(self) -> dict[str, bytes]:
        """Files of the newest commit."""
        return self.commits[self.branches["main"]]


@dataclass
class Fault:
    """What happens to a request for which ``when(method, path)`` holds, at most ``times`` times."""

    when: Callable[[str, str], bool]
    kind: str  # drop, cut, stall, trickle, or a status
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """The server and its state; a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.lock, self.closing = threading.Lock(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def repo(self, name: str, files: dict[str, bytes], private: bool = False) -> Repo:
        """A repository with one commit."""
        self.repos[name] = Repo(private)
        self.repos[name].add(files)
        return self.repos[name]

    def fail(self, kind: str | int, part: str = "", method: str = "", times: int = 1, **headers: str) -> None:
        """Let requests fail whose path holds ``part``."""
        when = lambda verb, path: part in path and method in ("", verb)  # noqa: E731
        self.faults.append(Fault(when, str(kind), times, headers))

    def drop_number(self, number: int) -> None:
        """Let the connection of one request from now on break, counted from 0."""
        goal = len(self.asked) + number
        self.faults.append(Fault(lambda *_: len(self.asked) == goal + 1, "drop"))

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault for a request, used up by it."""
        with self.lock:
            self.asked.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.when(method, path):
                    fault.times -= 1
                    return fault
        return None


class Trickle:
    """Writes one byte after the other, with time between."""

    def __init__(self, inner: Any, closing: threading.Event) -> None:
        self.inner, self.closing = inner, closing

    def write(self, content: bytes) -> int:
        with suppress(OSError):  # the other side had enough
            for byte in content:
                self.inner.write(bytes([byte]))
                self.inner.flush()
                if self.closing.wait(0.02):
                    break
        return len(content)

    def flush(self) -> None:
        with suppress(OSError):
            self.inner.flush()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every answer waits for an acknowledgement
        cut = False

        def log_message(self, *_said: object) -> None:
            """Nothing on the screen."""

        def handle_one(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            self.body = self.rfile.read(size)
            fault, self.cut = hub.fault(method, self.path), False
            if fault and fault.kind == "drop":
                self.close_connection = True
                self.connection.close()
            elif fault and fault.kind == "stall":
                hub.closing.wait(20)
                self.close_connection = True
            elif fault and fault.kind == "trickle":
                self.wfile, fast = Trickle(self.wfile, hub.closing), self.wfile
                try:
                    self.route(method)
                finally:
                    self.wfile, self.close_connection = fast, True
            elif fault and fault.kind == "cut":
                self.cut = True
                self.route(method)
            elif fault:
                self.say({"error": "as ordered"}, int(fault.kind), fault.headers)
            else:
                self.route(method)

        do_GET = lambda self: self.handle_one("GET")  # noqa: E731
        do_HEAD = lambda self: self.handle_one("HEAD")  # noqa: E731
        do_POST = lambda self: self.handle_one("POST")  # noqa: E731
        do_PUT = lambda self: self.handle_one("PUT")  # noqa: E731

        def say(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
            for name, text in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if self.cut else content)
            if self.cut:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()

        @property
        def known(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def missing(self, code: str) -> None:
            self.say({"error": code}, 404, {"X-Error-Code": code})

        def route(self, method: str) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            for verb, pattern, action in ROUTES:
                if method in verb and (match := re.fullmatch(pattern, path)):
                    if verb == "POST" and not self.known:
                        return self.say({"error": "Invalid username or password."}, 401)
                    return action(self, *match.groups(), **{k: v[0] for k, v in parse_qs(parts.query).items()})
            self.missing("EntryNotFound")

        def create(self, **_query: str) -> None:
            asked = json.loads(self.body)
            name = f"{asked.get('organization')}/{asked['name']}"
            if name in hub.repos:
                return self.say({"error": "You already created this model repo", "url": f"{hub.url}/{name}"}, 409)
            hub.repo(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, bool(asked.get("private")))
            self.say({"url": f"{hub.url}/{name}"})

        def check_card(self, **_query: str) -> None:
            content = json.loads(self.body)["content"]
            import yaml

            try:
                yaml.safe_load(content.split("---\n")[1])
                self.say({"errors": [], "warnings": []})
            except (yaml.YAMLError, IndexError) as error:
                self.say({"errors": [{"message": str(error)}], "warnings": []}, 400)

        def found(self, name: str) -> Repo | None:
            repo = hub.repos.get(name)
            if repo is None or (repo.private and not self.known):
                self.say(
                    {"error": "Repository not found"}, 404 if self.known else 401, {"X-Error-Code": "RepoNotFound"}
                )
                return None
            return repo

        def branch(self, name: str, branch: str, **_query: str) -> None:
            if repo := self.found(name):
                if branch in repo.branches:
                    return self.say({"error": "Reference already exists"}, 409)
                repo.branches[branch] = repo.branches["main"]
                self.say({})

        def preupload(self, name: str, revision: str, **_query: str) -> None:
            if repo := self.found(name):
                there = repo.commits.get(repo.at(revision) or "", {})
                self.say({"files": [_mode(entry, there) for entry in json.loads(self.body)["files"]]})

        def batch(self, name: str, **_query: str) -> None:
            objects = []
            for entry in json.loads(self.body)["objects"]:
                place = {"href": f"{hub.url}/lfs/{entry['oid']}?signature=topsecret"}
                objects.append({**entry, **({} if entry["oid"] in hub.large else {"actions": {"upload": place}})})
            self.say({"transfer": "basic", "objects": objects})

        def upload(self, oid: str, **_query: str) -> None:
            if hashlib.sha256(self.body).hexdigest() != oid:
                return self.say({"error": "wrong hash"}, 400)
            hub.large[oid] = self.body
            self.say({})

        def commit(self, name: str, revision: str, **_query: str) -> None:
            if not (repo := self.found(name)):
                return
            lines = [json.loads(line) for line in self.body.splitlines()]
            with hub.lock:
                parent = lines[0]["value"].get("parentCommit")
                if parent and parent != repo.at(revision):
                    return self.say({"error": "A commit has happened since. Please refresh and try again."}, 412)
                files = dict(repo.commits[repo.at(revision) or repo.branches["main"]])
                for line in lines[1:]:
                    value = line["value"]
                    large = line["key"] == "lfsFile"
                    files[value["path"]] = hub.large[value["oid"]] if large else base64.b64decode(value["content"])
                sha = repo.add(files, revision)
            self.say({"commitUrl": f"{hub.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})

        def info(self, name: str, revision: str | None = None, **query: str) -> None:
            if not (repo := self.found(name)):
                return
            sha = repo.at(revision or "main")
            if sha is None:
                return self.missing("RevisionNotFound")
            files = repo.commits[sha]
            sizes = {path: {"size": repo.claimed.get(path, len(content))} for path, content in files.items()}
            entries = [{"rfilename": path, **(sizes[path] if "blobs" in query else {})} for path in sorted(files)]
            self.say(
                {"id": name, "modelId": name, "sha": sha, "private": repo.private, "siblings": entries, "tags": []}
            )

        def resolve(self, name: str, revision: str, path: str, **_query: str) -> None:
            if not (repo := self.found(name)):
                return
            sha = repo.at(revision)
            if sha is None:
                return self.missing("RevisionNotFound")
            if path not in repo.commits[sha]:
                return self.say({"error": "no file"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            content = repo.commits[sha][path]
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": sha}
            if (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")) and method_is_get(self):
                start = int(wanted[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self.say(content[start:], 206, headers)
            self.say(content, 200, headers)

    name = r"([^/]+/[^/]+)"
    ROUTES = (
        ("POST", r"/api/repos/create", Handler.create),
        ("POST", r"/api/validate-yaml", Handler.check_card),
        ("POST", rf"/api/models/{name}/branch/(.+)", Handler.branch),
        ("POST", rf"/api/models/{name}/preupload/(.+)", Handler.preupload),
        ("POST", rf"/{name}\.git/info/lfs/objects/batch", Handler.batch),
        ("PUT", r"/lfs/([0-9a-f]{64})", Handler.upload),
        ("POST", rf"/api/models/{name}/commit/(.+)", Handler.commit),
        ("GET HEAD", rf"/api/models/{name}", Handler.info),
        ("GET HEAD", rf"/api/models/{name}/revision/(.+)", Handler.info),
        ("GET HEAD", rf"/{name}/resolve/([^/]+)/(.+)", Handler.resolve),
    )
    return Handler


def method_is_get(handler: BaseHTTPRequestHandler) -> bool:
    return handler.command == "GET"


def _mode(entry: dict[str, Any], there: dict[str, bytes]) -> dict[str, Any]:
    path = entry["path"]
    large = path.endswith(".safetensors") or entry["size"] >= LFS_FROM
    oid = None
    if path in there:
        blob = there[path]
        git = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
        oid = hashlib.sha256(blob).hexdigest() if large else git
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
