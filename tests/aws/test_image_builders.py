"""Which tool builds, and how an image is pushed: with tools that write down how they were called."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from smr_notebook.backends.aws.clients import Clients
from smr_notebook.backends.aws.image.builders import (
    BUILDERS,
    Builder,
    BuiltImage,
    Login,
    build_image,
    commands_elsewhere,
    find_builder,
    upload,
)
from smr_notebook.backends.aws.image.content import plan_image
from smr_notebook.backends.aws.image.registry import ecr_login, find_pushed, push_image, repository_address
from smr_notebook.errors import ConfigError, DeploymentError

PASSWORD = "correct horse"  # noqa: S105 - of nobody
LOGIN = Login("registry.example.com", "AWS", PASSWORD)
TOOL = """#!/bin/sh
echo "$0 $*" >> "{calls}"
if [ "$1" = login ]; then cat > "{secrets}"; echo "$REGISTRY_AUTH_FILE" >> "{secrets}"; fi
{script}
"""
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": "sha256:" + "0" * 64},
    "layers": [],
}


class Tools:
    """A folder of tools that do nothing but write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls_file = folder.parent / "calls"
        self.secrets_file = folder.parent / "secrets"

    def put(self, name: str, script: str = "exit 0") -> None:
        path = self.folder / name
        path.write_text(TOOL.format(calls=self.calls_file, secrets=self.secrets_file, script=script), encoding="utf-8")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        lines = self.calls_file.read_text(encoding="utf-8").splitlines() if self.calls_file.exists() else []
        return [line.removeprefix(f"{self.folder}/") for line in lines]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat"):
        (folder / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(folder))
    return Tools(folder)


@pytest.fixture
def built(tools: Tools) -> BuiltImage:
    tools.put("podman")
    return BuiltImage("smr-worker:tag", "tag", find_builder("podman"))


def test_a_tool_that_does_not_work_is_passed_over(tools: Tools) -> None:
    tools.put("docker", "echo Cannot connect to the Docker daemon. >&2; exit 1")
    tools.put("buildah")
    assert find_builder().name == "buildah"
    tools.put("podman")
    assert find_builder().name == "podman"
    tools.put("docker")
    assert find_builder().name == "docker"


def test_where_nothing_builds_the_error_says_what_was_tried_and_what_to_do(tools: Tools) -> None:
    tools.put("docker", "echo Cannot connect to the Docker daemon. >&2; exit 1")
    with pytest.raises(
        DeploymentError, match=r"(?s)Cannot connect to the Docker daemon.*podman is not installed.*smr image context FOLDER"
    ):
        find_builder()


def test_a_builder_is_one_of_the_table(tools: Tools) -> None:
    with pytest.raises(ConfigError, match="docker, podman, buildah"):
        find_builder("kaniko")
    with pytest.raises(DeploymentError, match="buildah is not installed"):
        find_builder("buildah")


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.name)
def test_an_image_is_built_for_one_platform_from_its_context(tools: Tools, builder: Builder) -> None:
    image = plan_image(architecture="arm64")
    script = 'for last; do :; done; read line < "$last/requirements.txt"; echo "$BUILDX_NO_DEFAULT_ATTESTATIONS has $line"'
    tools.put(builder.name, script)
    told: list[str] = []
    built = build_image(image, builder=builder, tell=told.append)
    assert built == BuiltImage(f"smr-worker:{image.tag}", image.tag, builder)
    (call,) = tools.calls
    assert call.startswith(f"{' '.join((builder.name, *builder.build))} --platform linux/arm64 --tag smr-worker:{image.tag} ")
    assert not Path(call.split()[-1]).exists()
    assert [line.strip() for line in told] == [f"{'1 ' if builder.name == 'docker' else ''}has {image.requirements[0]}"]


def test_a_build_that_fails_says_how_it_ended(tools: Tools) -> None:
    tools.put("podman", "[ $1 = info ] || { for i in 1 2 3; do echo line $i; done; echo no space left >&2; exit 9; }")
    with pytest.raises(DeploymentError, match=r"(?s)The build failed: `podman build` ended with 9.*line 3\nno space left$"):
        build_image(plan_image(), builder=find_builder("podman"))


def test_a_password_goes_in_by_standard_input_and_is_forgotten(tools: Tools, built: BuiltImage) -> None:
    told: list[str] = []
    upload(built, "registry.example.com/smr:tag", login=LOGIN, tell=told.append)
    assert tools.calls == [
        "podman info",
        "podman login --username AWS --password-stdin registry.example.com",
        "podman tag smr-worker:tag registry.example.com/smr:tag",
        "podman push registry.example.com/smr:tag",
        "podman logout registry.example.com",
    ]
    secret, credentials = tools.secrets_file.read_text(encoding="utf-8").rsplit(PASSWORD, 1)
    assert secret == ""
    assert not Path(credentials.strip()).parent.exists()
    assert PASSWORD not in "".join([repr(LOGIN), *told, *tools.calls])


def test_a_push_that_fails_logs_out_too(tools: Tools, built: BuiltImage) -> None:
    tools.put("podman", "[ $1 != push ] || { echo denied; exit 1; }")
    with pytest.raises(DeploymentError, match=r"(?s)The push to registry.example.com failed.*denied"):
        upload(built, "registry.example.com/smr:tag", login=LOGIN)
    assert tools.calls[-1] == "podman logout registry.example.com"


def test_the_commands_for_elsewhere_hold_no_secret_and_build_what_lambda_takes() -> None:
    image = plan_image(architecture="arm64")
    build, login, push = commands_elsewhere(image, "context", repository="123456789012.dkr.ecr.eu-west-1.amazonaws.com/smr")
    target = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/smr:{image.tag}"
    assert build == f"docker build --provenance=false --platform linux/arm64 --tag {target} context"
    assert login.startswith("aws ecr get-login-password --region eu-west-1 | docker login --username AWS --password-stdin 123456789012.")
    assert push == f"docker push {target}"


# ---------------------------------------------------------------- ECR


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clients]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield Clients("eu-west-1", retries=1)


@pytest.fixture
def put_image(clients: Clients) -> Callable[[str, dict[str, object]], str]:
    """A function that puts a manifest into a repository, as a push does, and returns its digest."""
    clients["ecr"].create_repository(repositoryName="smr", imageTagMutability="IMMUTABLE")

    def put_image(tag: str, manifest: dict[str, object]) -> str:
        kind = str(manifest["mediaType"])
        given = {"repositoryName": "smr", "imageTag": tag, "imageManifest": json.dumps(manifest), "imageManifestMediaType": kind}
        return str(clients["ecr"].put_image(**given)["image"]["imageId"]["imageDigest"])

    return put_image


def test_without_a_repository_the_error_says_what_makes_it(clients: Clients, built: BuiltImage) -> None:
    with pytest.raises(DeploymentError, match="smr deploy"):
        push_image(built, clients=clients, repository="smr")


def test_a_login_names_the_registry_of_the_account(clients: Clients) -> None:
    login = ecr_login(clients)
    assert (login.registry, login.user) == ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "AWS")
    assert login.password
    assert login.password not in repr(login)


def test_what_is_there_is_not_pushed_again(
    clients: Clients, built: BuiltImage, tools: Tools, put_image: Callable[[str, dict[str, object]], str]
) -> None:
    digest = put_image("tag", MANIFEST)
    pushed = push_image(built, clients=clients, repository="smr")
    assert pushed.uri == f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/smr@{digest}"
    assert tools.calls == ["podman info"]


def test_what_is_not_there_is_pushed_and_looked_for(clients: Clients, built: BuiltImage, tools: Tools, put_image: object) -> None:
    with pytest.raises(DeploymentError, match="does not show tag after the push"):
        push_image(built, clients=clients, repository="smr")
    assert f"podman push {repository_address(clients, 'smr')}:tag" in tools.calls


def test_an_index_of_several_images_is_refused(clients: Clients, put_image: Callable[[str, dict[str, object]], str]) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": MANIFEST["mediaType"], "digest": put_image("one", MANIFEST), "size": 2, "platform": {"architecture": "amd64"}}
    put_image("tag", {"schemaVersion": 2, "mediaType": kind, "manifests": [entry]})
    assert find_pushed(clients, "smr", "one")
    with pytest.raises(DeploymentError, match="index of several images"):
        find_pushed(clients, "smr", "tag")
