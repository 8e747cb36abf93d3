"""The content of the image as plain values, and the tag that follows from it."""

from __future__ import annotations

import json
import os
import re
import stat
from importlib import metadata
from pathlib import Path

import pytest

import smr_notebook
from smr_notebook.backends.aws.image.content import Image, plan_image, write_context
from smr_notebook.environment import environment
from smr_notebook.errors import ConfigError

PACKAGE = Path(smr_notebook.__file__).parent


@pytest.fixture(scope="module")
def image() -> Image:
    return plan_image(architecture="x86_64")


def test_the_same_content_has_the_same_tag(image: Image) -> None:
    again = plan_image(architecture="amd64")
    assert (again.tag, again.files) == (image.tag, image.files)


def test_a_tag_says_version_python_and_architecture_and_is_one_for_ecr(image: Image) -> None:
    python = environment().python.replace(".", "")
    assert re.fullmatch(rf"{re.escape(smr_notebook.__version__)}-py{python}-x86_64-[0-9a-f]{{12}}", image.tag)
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}", image.tag)


def test_whatever_decides_what_an_image_is_changes_its_tag(image: Image) -> None:
    others = (
        plan_image(architecture="arm64"),
        plan_image(architecture="x86_64", base="example.com/python:3.11"),
        plan_image(["hypothesis"], architecture="x86_64"),
        plan_image(["not-here==1"], architecture="x86_64"),
        plan_image(["not-here==2"], architecture="x86_64"),
    )
    assert len({image.tag, *(other.tag for other in others)}) == 6


def test_order_and_spelling_of_requirements_do_not_change_the_tag() -> None:
    version = metadata.version("hypothesis")
    assert plan_image(["not-here==1", "hypothesis"]).tag == plan_image([f"Hypothesis=={version}", "Not_Here == 1"]).tag


def test_an_image_holds_what_workers_run_and_not_the_notebooks_side(image: Image) -> None:
    held = {name.removeprefix("task/smr_notebook/") for name in image.files if name.startswith("task/smr_notebook/")}
    assert held >= {"handler.py", "control/worker.py", "dataflow/mapping.py", "backends/aws/clients.py", "backends/local/platform.py"}
    assert not [
        name for name in held if name.startswith(("notebook/", "testing/", "cli", "backends/aws/image/")) or not name.endswith(".py")
    ]
    assert held <= {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}


def test_nothing_of_this_machine_is_in_an_image(image: Image) -> None:
    names = [str(Path.home()).encode(), str(PACKAGE.parent).encode(), os.uname().nodename.encode()]
    ours = {name: data for name, data in image.files.items() if not name.startswith("task/smr_notebook/")}
    assert [(name, told) for name, data in ours.items() for told in names if len(told) > 5 and told in data] == []


def test_the_stamp_in_the_image_is_the_notebooks(image: Image) -> None:
    stamp = json.loads(image.files["task/stamp.json"])
    assert dict(stamp["packages"]) == dict(environment().packages)
    assert (stamp["python"], stamp["pickle_protocol"]) == (environment().python, environment().pickle_protocol)


def test_the_package_in_the_image_has_a_name_and_a_version(image: Image, tmp_path: Path) -> None:
    write_context(image, tmp_path / "context")
    found = list(metadata.distributions(path=[str(tmp_path / "context" / "task")]))
    assert [(each.name, each.version) for each in found] == [("smr_notebook", smr_notebook.__version__)]


def test_the_dockerfile_begins_with_the_base_and_names_no_user(image: Image) -> None:
    text = image.files["Dockerfile"].decode()
    assert [line for line in text.splitlines() if line.startswith("ARG ")] == [
        f"ARG BASE=public.ecr.aws/docker/library/python:{environment().python}-slim-bookworm"
    ]
    assert "\nUSER" not in text
    other = plan_image(base=r"example.com/a\1:b").files["Dockerfile"].decode()
    assert "ARG BASE=example.com/a\\1:b\n" in other


def test_lambda_has_two_architectures() -> None:
    assert [plan_image(architecture=name).architecture.platform for name in ("x86_64", "aarch64")] == ["linux/amd64", "linux/arm64"]
    with pytest.raises(ConfigError, match="'riscv64'"):
        plan_image(architecture="riscv64")


def test_anybody_can_read_what_is_copied_whatever_the_umask(image: Image, tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"")
    before = os.umask(0o077)
    try:
        write_context(image, tmp_path / "context", wheels=tmp_path / "wheels")
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "context").rglob("*")}
    assert modes == {(True, 0o755), (False, 0o644)}
    assert (tmp_path / "context" / "wheels" / "a-1-py3-none-any.whl").exists()


def test_a_context_is_not_mixed_with_what_lies_there(image: Image, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not empty"):
        write_context(image, tmp_path)
    with pytest.raises(ConfigError, match="no wheels"):
        write_context(image, tmp_path / "context", wheels=tmp_path)


def test_what_is_written_is_what_was_planned(image: Image, tmp_path: Path) -> None:
    write_context(image, tmp_path)
    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == image.files
