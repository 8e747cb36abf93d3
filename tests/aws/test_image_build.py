"""The image for real: built from the Dockerfile by our own code, pushed, read back, unpacked, and run as Lambda runs it.

No Docker is needed, but root and Debian's tools for images. The base image comes from `image.sh` and the wheels from an index; both are
kept in the folder `SMR_TEST_IMAGE_CACHE` (`build/image` when that is not set).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import queue
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smr_notebook.backends.aws.image.builders import REPOSITORY, BuiltImage, Login, build_image, find_builder, upload
from smr_notebook.backends.aws.image.content import Image, plan_image
from smr_notebook.backends.local.platform import LocalOptions, open_local
from smr_notebook.environment import environment
from smr_notebook.errors import DeploymentError
from smr_notebook.model import Environment
from smr_notebook.testing.waiting import wait_until

pytestmark = [pytest.mark.xdist_group("image"), pytest.mark.timeout(900)]

CACHE = Path(os.environ.get("SMR_TEST_IMAGE_CACHE") or Path(__file__).parents[2] / "build" / "image").absolute()
"""Read here, because a test sees no variable `SMR_…`."""

TOOLS = ("mmdebstrap", "buildah", "skopeo", "umoci", "docker-registry", "runc", "openssl")
BASE_SCRIPT = Path(__file__).with_name("image.sh")
PASSWORD = "open sesame"  # noqa: S105 - of a registry that lives as long as this module
HTPASSWD = "AWS:$2b$04$6RVE1fpj3tI5Q2aF31rx5OUBfQ9OXDGE62hn1Vnh.q4hBDA/X7/9m\n"
LAMBDA_USER = {"uid": 993, "gid": 990}
PLATFORMS = ("manylinux2014", "manylinux2010", "manylinux1", "linux", *(f"manylinux_2_{minor}" for minor in range(34, 4, -1)))
"""What wheels may be made for: any glibc up to the one of Amazon Linux 2023."""

WORKSPACE = "/tmp/workspace"  # noqa: S108 - in the container
COMPRESSED_LIMIT = 250 * 2**20
UNPACKED_LIMIT = 700 * 2**20


def run(*command: str | Path) -> str:
    """Run a tool, and return what it says."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place of our own for images, in the variables that buildah reads. Nothing of the machine's settings counts."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing or os.geteuid() or sys.version_info[:2] != (3, 11):
        reason = f"the image test needs root, Python 3.11 as in Debian 12, and `apt-get install {' '.join(TOOLS)}` (missing: {missing})"
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("containers")
    CACHE.mkdir(parents=True, exist_ok=True)
    settings = f'[storage]\ndriver = "vfs"\ngraphroot = "{CACHE}/storage"\nrunroot = "{folder}/run"\n'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(written(folder / "storage.conf", settings)))
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        for left in [name for name in image_names() if REPOSITORY in name]:  # of a run that was interrupted
            run("buildah", "rmi", "--force", left)
        yield folder
    shutil.rmtree(folder)


def image_names() -> list[str]:
    """Return the names of all images in the storage."""
    images = json.loads(run("buildah", "images", "--json"))
    return [name for image in images for name in image["names"] or ()]


@pytest.fixture(scope="module")
def base(storage: Path) -> str:
    """Name of a base image, made once and kept."""
    name = f"localhost/smr-base:{hashlib.sha256(BASE_SCRIPT.read_bytes()).hexdigest()[:12]}"
    if name not in image_names():
        run(BASE_SCRIPT, storage / "base.tar")
        written(storage / "Dockerfile", "FROM scratch\nADD base.tar /\n")
        run("buildah", "bud", "--quiet", "--format", "docker", "--tag", name, storage)
        (storage / "base.tar").unlink()
    return name


@pytest.fixture(scope="module")
def image(base: str) -> Image:
    """An image with a package besides, which is small and known here."""
    return plan_image(["packaging"], base=base)


@pytest.fixture(scope="module")
def wheels(image: Image) -> Path:
    """Wheels of all that is in the image, fetched once and kept."""
    folder = CACHE / "wheels" / hashlib.sha256("\n".join(image.requirements).encode()).hexdigest()[:12]
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={image.environment.python}"]
        options += [f"--platform={platform}_{image.architecture.machine}" for platform in PLATFORMS]
        run(sys.executable, "-m", "pip", "download", "--quiet", *options, f"--find-links={part}", f"--dest={part}", *image.requirements)
        part.rename(folder)
    return folder


@pytest.fixture(scope="module")
def built(image: Image, wheels: Path) -> Iterator[BuiltImage]:
    built = build_image(image, builder=find_builder("buildah"), wheels=wheels)
    yield built
    run("buildah", "rmi", "--force", built.name)
    run("buildah", "rmi", "--prune")


@pytest.fixture(scope="module")
def registry(storage: Path) -> Iterator[str]:
    """Address of a registry that speaks TLS and lets nobody in without the password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    certificate, key = storage / "registry.crt", storage / "registry.key"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("openssl", "req", "-x509", *curve, *subject, "-days", "2", "-keyout", key, "-out", certificate)
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage / "registry")}},
        "http": {"addr": address, "tls": {"certificate": str(certificate), "key": str(key)}},
        "auth": {"htpasswd": {"realm": "smr", "path": str(written(storage / "htpasswd", HTPASSWD))}},
    }
    words = ["docker-registry", "serve", str(written(storage / "registry.yml", json.dumps(settings)))]  # JSON is YAML
    with (storage / "registry.log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(address))
            yield address
        finally:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    connection = http.client.HTTPSConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def pushed(built: BuiltImage, registry: str) -> str:
    """Name under which the image was pushed."""
    target = f"{registry}/smr:{built.tag}"
    upload(built, target, login=Login(registry, "AWS", PASSWORD))
    return target


@pytest.fixture(scope="module")
def bundle(pushed: str, storage: Path) -> Path:
    """The image as it came out of the registry, unpacked, with what a container runtime wants to know."""
    run("skopeo", "copy", "--quiet", f"--src-creds=AWS:{PASSWORD}", f"docker://{pushed}", f"oci:{storage}/oci:image")
    run("umoci", "unpack", "--image", f"{storage}/oci:image", storage / "bundle")
    return storage / "bundle"


def inspect(pushed: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("skopeo", "inspect", *options, f"--creds=AWS:{PASSWORD}", f"docker://{pushed}"))
    return found


def test_a_registry_that_does_not_know_us_says_so(built: BuiltImage, registry: str) -> None:
    with pytest.raises(DeploymentError, match=rf"(?s)The login to {registry} failed.*invalid username/password"):
        upload(built, f"{registry}/smr:{built.tag}", login=Login(registry, "AWS", "wrong"))


def test_what_was_pushed_is_one_image_of_one_architecture_as_lambda_takes_it(pushed: str, image: Image) -> None:
    manifest, config = inspect(pushed, "--raw"), inspect(pushed, "--config", "--raw")
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert (config["os"], f"linux/{config['architecture']}") == ("linux", image.architecture.platform)
    assert sum(layer["size"] for layer in manifest["layers"]) < COMPRESSED_LIMIT
    assert not config["config"].get("User")
    assert config["config"]["Entrypoint"] == ["python3", "-m", "awslambdaric"]
    assert config["config"]["Cmd"] == ["entry.handler"]
    assert config["config"]["WorkingDir"] == "/var/task"


def test_anybody_can_read_the_whole_image_and_its_byte_code_is_there(bundle: Path) -> None:
    task = bundle / "rootfs" / "var" / "task"
    found = [(path, path.lstat()) for path in task.rglob("*") if not path.is_symlink()]
    closed = [path for path, status in found if status.st_mode & (0o555 if stat.S_ISDIR(status.st_mode) else 0o444) not in {0o555, 0o444}]
    assert closed == []
    assert sum(status.st_size for _, status in found) < UNPACKED_LIMIT
    for module in ("entry", "smr_notebook/handler", "pandas/__init__"):
        assert list((task / module).parent.glob(f"__pycache__/{Path(module).name}.*.pyc"))


# ---------------------------------------------------------------- as Lambda runs it


class RuntimeApi(ThreadingHTTPServer):
    """Lambda's Runtime API, as far as one container needs it: events go out one by one, and what comes back is kept."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Verbs)
        self.events: queue.Queue[bytes | None] = queue.Queue()
        self.answers: queue.Queue[tuple[str, Any]] = queue.Queue()

    def ask(self, event: object) -> tuple[str, Any]:
        """Send an event, and return which verb came back (`response`, or `error`) and with what."""
        self.events.put(json.dumps(event).encode())
        return self.answers.get(timeout=60)


class _Verbs(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "one",
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:smr-mapper",
            "Content-Type": "application/json",  # without it the runtime client crashes
        }
        self._say(event, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else b"".join(self._chunks())
        self._say(b"{}", {})
        self.server.answers.put((self.path.rpartition("/")[2], json.loads(body)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _say(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Say nothing: pytest shows the container's own log."""


@dataclass(frozen=True, slots=True)
class Container:
    """A running container."""

    api: RuntimeApi
    root: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside, as the same user."""
        words = ["runc", "--root", str(self.root), "exec", "smr", "sh", "-c", command]
        return subprocess.run(words, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def container(bundle: Path, storage: Path) -> Iterator[Container]:
    """The image as Lambda runs it: root read-only, a user that the image does not know, no capabilities, /tmp in memory, no /dev/shm."""
    with RuntimeApi() as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        (bundle / "config.json").write_text(json.dumps(as_on_lambda(bundle, api.server_port)), encoding="utf-8")
        words = ["runc", "--root", str(storage / "runc")]
        with (storage / "container.log").open("wb") as log:
            process = subprocess.Popen([*words, "run", "--bundle", str(bundle), "smr"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Container(api, storage / "runc")
        finally:
            sys.stdout.write((storage / "container.log").read_text(encoding="utf-8", errors="replace"))
            subprocess.run([*words, "delete", "--force", "smr"], check=False)
            process.wait()
            api.events.put(None)
            api.shutdown()


def as_on_lambda(bundle: Path, port: int) -> dict[str, Any]:
    """Return what runc is told: what the image says, and what Lambda does to it."""
    config: dict[str, Any] = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    process = config["process"]
    told = {
        "HOME": "/tmp",  # noqa: S108 - as the image says; umoci replaces it
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "smr-mapper",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/smr-mapper",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_REGION": "eu-west-1",
        "SMR_LOCATION": open_local(LocalOptions(WORKSPACE)).location,
    }
    process["env"] = [line for line in process["env"] if line.partition("=")[0] not in told] + [f"{name}={told[name]}" for name in told]
    process |= {"terminal": False, "user": LAMBDA_USER, "capabilities": {}, "noNewPrivileges": True}
    config["root"]["readonly"] = True
    config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    tmp = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=512m"]}  # noqa: S108
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] in {"/proc", "/dev"}] + [tmp]
    return config


def test_the_image_answers_with_the_notebooks_environment_and_what_was_wanted_besides(container: Container, image: Image) -> None:
    verb, answer = container.api.ask({"v": 1, "role": "stamp", "extras": image.extras})
    assert verb == "response"
    assert msgspec.convert(answer, Environment) == image.environment
    assert {name for name, _ in image.environment.packages} == {*dict(environment().packages), "packaging"}


def test_a_worker_runs_as_a_stranger_who_can_write_to_tmp_alone(container: Container) -> None:
    """Of a job that nobody knows there is nothing to do, but the worker has forked, and its process has made a table to look into."""
    assert container.api.ask({"v": 1, "role": "map", "job": "unknown", "task": 0, "attempt": 1}) == ("response", {})
    assert container.run("find /tmp -name '*.sqlite'").stdout.split() == [f"{WORKSPACE}/table.sqlite"]
    assert container.run("id -u").stdout.strip() == str(LAMBDA_USER["uid"])
    assert container.run("touch /var/task/x || touch /x || touch /root/x").returncode != 0
    left = container.run("find /tmp -mindepth 1 -maxdepth 1").stdout.split()
    assert [path for path in left if "/tenant-" not in path] == [WORKSPACE]
