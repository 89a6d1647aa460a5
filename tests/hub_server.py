"""A stand-in for the Hugging Face Hub: what its client asks for, over HTTP on loopback.

Of the Hub's interface it has repositories, commits (small files in the commit, others through LFS),
pull requests as revisions, and downloads. It checks what it is sent: digests, sizes, the head of a
card. Its form was read from huggingface_hub 2.4, the client.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

TOKEN = "hf_of_the_tests"


class Hub:
    """The repositories: by name and revision, content by path."""

    def __init__(self):
        self.repositories = {}
        self.blobs = {}
        self.requests = []

    def commit_of(self, repo, revision):
        files = self.repositories[repo][revision]
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, value, status=200, headers=()):
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, one in dict(headers).items():
                self.send_header(name, one)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def refuse(self, status, code, text):
            headers = {"X-Error-Code": code, "X-Error-Message": text}
            self.answer({"error": text}, status, headers)

        def body(self):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def route(self):
            url = urlparse(self.path)
            path, query = unquote(url.path), parse_qs(url.query)
            hub.requests.append((self.command, path))
            writes = self.command in ("POST", "PUT")
            if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                is_blob = self.command == "PUT"  # signed addresses need no token
                if not is_blob:
                    self.body()
                    return self.refuse(401, "", "Invalid username or password.")
            for method, pattern, name in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method == self.command.replace("HEAD", "GET"):
                    return getattr(self, name)(query, **match.groupdict())
            return self.refuse(404, "", f"no {self.command} {path}")

        do_GET = do_HEAD = do_POST = do_PUT = route

        # Writing

        def create(self, query):
            asked = json.loads(self.body())
            repo = f"{asked['organization'] or 'tester'}/{asked['name']}"
            status = 409 if repo in hub.repositories else 200
            hub.repositories.setdefault(repo, {"main": {}})
            self.answer({"url": f"/{repo}", "name": repo}, status)

        def validate(self, query):
            content = json.loads(self.body())["content"]
            is_sound = re.match(r"---\n(.+\n)+?---\n", content)
            errors = [] if is_sound else [{"message": "no YAML head"}]
            self.answer({"errors": errors, "warnings": []}, 200 if is_sound else 400)

        def preupload(self, query, repo, revision):
            files = json.loads(self.body())["files"]
            if repo not in hub.repositories:
                return self.refuse(404, "RepoNotFound", "Repository not found")
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs"
                    if file["path"].endswith((".tflite", ".npz"))
                    else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            return self.answer({"files": modes})

        def lfs(self, query, repo):
            asked = json.loads(self.body())
            host = f"http://{self.headers['Host']}"
            objects = [
                {**one, "actions": {"upload": {"href": f"{host}/blob/{one['oid']}"}}}
                for one in asked["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})

        def blob(self, query, digest):
            content = self.body()
            assert hashlib.sha256(content).hexdigest() == digest
            hub.blobs[digest] = content
            self.answer({})

        def commit(self, query, repo, revision):
            lines = [json.loads(line) for line in self.body().splitlines()]
            revisions = hub.repositories[repo]
            target, number = revision, len(revisions)
            if query.get("create_pr") == ["1"]:
                target = f"refs/pr/{number}"
            files = dict(revisions[revision])
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                    assert len(files[value["path"]]) == value["size"]
            revisions[target] = files
            host = f"http://{self.headers['Host']}"
            found = {
                "commitUrl": f"{host}/{repo}/commit/{hub.commit_of(repo, target)}",
                "commitOid": hub.commit_of(repo, target),
            }
            if target != revision:
                found["pullRequestUrl"] = f"{host}/{repo}/discussions/{number}"
            self.answer(found)

        # Reading

        def info(self, query, repo, revision="main"):
            if repo not in hub.repositories:
                return self.refuse(404, "RepoNotFound", "Repository not found")
            if revision not in hub.repositories[repo]:
                return self.refuse(404, "RevisionNotFound", "Revision not found")
            files = hub.repositories[repo][revision]
            siblings = [{"rfilename": name} for name in files]
            commit = hub.commit_of(repo, revision)
            return self.answer({"id": repo, "sha": commit, "siblings": siblings})

        def tree(self, query, repo, revision):
            self.answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                    for path, content in self.files_at(repo, revision).items()
                ]
            )

        def resolve(self, query, repo, revision, path):
            files = self.files_at(repo, revision)
            if path not in files:
                return self.refuse(404, "EntryNotFound", "Entry not found")
            commit = next(
                hub.commit_of(repo, name)
                for name, those in hub.repositories[repo].items()
                if those is files
            )
            headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(files[path])}"'}
            return self.answer(files[path], 200, headers)

        def files_at(self, repo, revision):
            for name, files in hub.repositories.get(repo, {}).items():
                if revision in (name, hub.commit_of(repo, name)):
                    return files
            return {}

    return Handler


def _oid(content):
    return hashlib.sha1(content).hexdigest()


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
ROUTES = (
    ("POST", "/api/repos/create", "create"),
    ("POST", "/api/validate-yaml", "validate"),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<revision>.+)", "preupload"),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", "lfs"),
    ("PUT", r"/blob/(?P<digest>\w+)", "blob"),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<revision>.+)", "commit"),
    ("GET", rf"/api/models/{_REPO}", "info"),
    ("GET", rf"/api/models/{_REPO}/revision/(?P<revision>.+)", "info"),
    ("GET", rf"/api/models/{_REPO}/tree/(?P<revision>.+)", "tree"),
    ("GET", rf"/{_REPO}/resolve/(?P<revision>refs/pr/\d+|[^/]+)/(?P<path>.+)", "resolve"),
)


@contextmanager
def running():
    """Yield the Hub and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
