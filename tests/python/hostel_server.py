"""A real `hostel serve` for the tests: own data directory, any free port, scripted model.

It never touches the user's home, and it leaves nothing: stopping checks that no process and no
mount of its data directory is left.
"""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import select
import shutil
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = pathlib.Path(os.environ.get("HOSTEL_BIN", TARGET / "debug/hostel"))
# The claude CLI is some hundred megabytes: it is installed once and shared by all test servers.
VERSIONS = TARGET / "tests-cli"

READY = re.compile(r"hostel is ready on (http://\S+)")
READY_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0


class Server:
    """One running server."""

    def __init__(self, data: pathlib.Path, model: str | None = None) -> None:
        """With the scripted model at an address; without one, with its own."""
        self.data = data
        self.model = {"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "dummy"} if model else {}
        self.api_key = f"hk-test-{secrets.token_hex(16)}"
        self.log = data.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None
        self.base_url = ""

    def start(self) -> "Server":
        self.data.mkdir(parents=True, exist_ok=True)
        log = self.log.open("a")
        self._process = subprocess.Popen(
            [BINARY, "serve", "--data", self.data, "--listen", "127.0.0.1:0"]
            + ([] if self.model else ["--offline"]),
            env=environment(self.data, HOSTEL_API_KEY=self.api_key, **self.model),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.base_url = self._ready()
        return self

    def _ready(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                line = self._process.stdout.readline()
                if match := READY.search(line):
                    return match[1]
                if not line:
                    break
        self.kill()
        raise AssertionError(f"the server did not get ready:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """Asks it to end, and checks that nothing of it is left."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT)
        assert code == 0, f"the server ended with {code}:\n{self.log.read_text()[-4000:]}"
        assert not self.leftovers()

    def kill(self) -> None:
        """kill -9, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_TIMEOUT)

    def leftovers(self) -> list[str]:
        """Processes started with, and mounts below, the data directory."""
        needle = str(self.data)
        left = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if needle in line]
        for command in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # It ended while we looked.
            if needle in text and command.parent.name != str(os.getpid()):
                left.append(f"{command.parent.name}: {text}")
        return left


def environment(home: pathlib.Path, **extra: str) -> dict[str, str]:
    """A home of its own; of the outside only what is needed to find programs and the registry."""
    passed = ("PATH", "LANG", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
              "https_proxy", "no_proxy", "npm_config_registry", "NPM_CONFIG_REGISTRY", "NODE_EXTRA_CA_CERTS")
    kept = {name: os.environ[name] for name in passed if name in os.environ}
    return {**kept, "HOME": str(home), **extra}


def install_cli() -> None:
    """Installs the claude CLI once, for all test servers."""
    if not BINARY.is_file():
        raise AssertionError(f"{BINARY} is not there: run `cargo build --package cli` or `make test`")
    VERSIONS.mkdir(parents=True, exist_ok=True)
    env = {**os.environ}
    listed = subprocess.run(
        [BINARY, "cli", "list", "--json", "--data", VERSIONS], env=env, capture_output=True, text=True, check=True
    )
    if not listed.stdout.strip():
        subprocess.run([BINARY, "cli", "install", "--data", VERSIONS], env=env, check=True)


def share_cli(data: pathlib.Path) -> None:
    """Gives a data directory the installed versions."""
    data.mkdir(parents=True, exist_ok=True)
    shutil.copytree(VERSIONS / "cli", data / "cli", copy_function=os.link, symlinks=True, dirs_exist_ok=True)
