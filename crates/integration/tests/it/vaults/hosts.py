"""Private hosts behind one TLS server: a git repository, an npm registry, a PyPI index, an MCP server
over streamable HTTP, an OAuth token endpoint, and a page that says back what it was asked.

    hosts.py DIRECTORY ADDRESS CERTIFICATE KEY

Prints its port. `DIRECTORY/token` has the token that all of them ask for; `DIRECTORY/refresh` the refresh
token that the token endpoint takes, and `DIRECTORY/next` the token that it gives for it. `DIRECTORY/heard`
gets a line for each request: method, path, status and what it showed.
"""

import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import threading
import urllib.parse
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIRECTORY, ADDRESS, CERTIFICATE, KEY = sys.argv[1:5]
LOCK = threading.Lock()


def told(name):
    with open(os.path.join(DIRECTORY, name)) as file:
        return file.read().strip()


def npm_package():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in {
            "package/package.json": json.dumps({"name": "acme-tool", "version": "1.0.0"}),
            "package/index.js": "module.exports = 'acme-tool is here'\n",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


def wheel():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr("acme_lib.py", "SAYS = 'acme-lib is here'\n")
        info = "acme_lib-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-lib\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return data.getvalue()


NPM, WHEEL = npm_package(), wheel()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="text/plain", **headers):
        if isinstance(body, (dict, list)):
            body, kind = json.dumps(body).encode(), "application/json"
        with LOCK, open(os.path.join(DIRECTORY, "heard"), "a") as heard:
            shown = self.headers.get("authorization", "-")
            heard.write(f"{self.command} {self.path} {status} {shown}\n")
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().strip(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def bearer(self):
        return self.headers.get("authorization") == f"Bearer {told('token')}"

    def basic(self):
        scheme, _, text = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        return base64.b64decode(text).decode().partition(":")[2] == told("token")

    def handle_all(self):
        path = urllib.parse.urlsplit(self.path).path
        body = self.body()
        for prefix, answer in [
            ("/git/", self.git),
            ("/npm/", self.npm),
            ("/pypi/", self.pypi),
            ("/mcp", self.mcp),
            ("/token", self.token),
            ("/echo", self.echo),
        ]:
            if path.startswith(prefix):
                return answer(path, body)
        self.answer(404)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = handle_all

    def git(self, path, body):
        if not self.basic():
            return self.answer(401, WWW_Authenticate='Basic realm="git"')
        query = urllib.parse.urlsplit(self.path).query
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            stdout=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": DIRECTORY,
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "REMOTE_USER": "agent",
            },
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.pop("Status", "200").split()[0])
        self.answer(status, rest, fields.get("Content-Type", "text/plain"))

    def npm(self, path, _):
        if not self.bearer():
            return self.answer(401, {"error": "who are you?"})
        if path.endswith(".tgz"):
            return self.answer(200, NPM, "application/octet-stream")
        if path != "/npm/acme-tool":
            return self.answer(404, {"error": "not found"})
        url = f"https://{self.headers['host']}/npm/acme-tool/-/acme-tool-1.0.0.tgz"
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(NPM).digest()).decode()
        version = {
            "name": "acme-tool",
            "version": "1.0.0",
            "dist": {"tarball": url, "integrity": integrity},
        }
        self.answer(
            200,
            {"name": "acme-tool", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}},
        )

    def pypi(self, path, _):
        if not self.basic():
            return self.answer(401, WWW_Authenticate='Basic realm="pypi"')
        if path.endswith(".whl"):
            return self.answer(200, WHEEL, "application/octet-stream")
        if path == "/pypi/simple/acme-lib/":
            name = "acme_lib-1.0-py3-none-any.whl"
            return self.answer(200, f'<a href="/pypi/files/{name}">{name}</a>'.encode(), "text/html")
        self.answer(404)

    def mcp(self, _, body):
        if not self.bearer():
            return self.answer(401, {"error": "invalid_token"}, WWW_Authenticate="Bearer")
        if self.command != "POST":
            return self.answer(405)
        asked = json.loads(body)
        method = asked.get("method")
        if "id" not in asked:
            return self.answer(202)
        result = {}
        if method == "initialize":
            result = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "private", "version": "1"},
            }
        elif method == "tools/list":
            schema = {"type": "object", "properties": {}}
            tool = {"name": "whoami", "description": "says who asks", "inputSchema": schema}
            result = {"tools": [tool]}
        elif method == "tools/call":
            text = f"you showed {self.headers['authorization']}"
            result = {"content": [{"type": "text", "text": text}]}
        self.answer(200, {"jsonrpc": "2.0", "id": asked["id"], "result": result})

    def token(self, _, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        with LOCK:
            good = form.get("grant_type") == "refresh_token"
            good = good and form.get("refresh_token") == told("refresh")
            if good:
                new = told("next")
                for name, text in {"token": new, "refresh": new + "-refresh"}.items():
                    with open(os.path.join(DIRECTORY, name), "w") as file:
                        file.write(text)
        if not good:
            return self.answer(400, {"error": "invalid_grant"})
        given = {"access_token": new, "token_type": "Bearer", "expires_in": 3600}
        self.answer(200, {**given, "refresh_token": new + "-refresh"})

    def echo(self, _, body):
        said = "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        self.answer(200, said.encode() + body, x_said=self.headers.get("authorization", "-"))


server = ThreadingHTTPServer((ADDRESS, 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
