"""What is installed in the image: exact versions, the notebook's where it has them, and nothing that names a place."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from smr_notebook.backends.aws.image.content import plan_image
from smr_notebook.backends.aws.image.requirements import Pin, pin_all, pin_extras
from smr_notebook.environment import environment, installed_version, package_name
from smr_notebook.errors import ConfigError

MACHINE = "x86_64"
SECRET = "hunter2"  # noqa: S105 - what must not be told


def pins(*lines: str) -> dict[str, str]:
    """Return the versions that lines are pinned to."""
    return {pin.name: pin.version for pin in pin_extras(lines, machine=MACHINE)}


def test_a_package_that_is_installed_here_gets_the_version_that_it_has_here() -> None:
    here = metadata.version("hypothesis")
    assert pins("Hypothesis") == pins("hypothesis>=1") == pins(f"hypothesis=={here}") == {"hypothesis": here}


def test_another_version_than_the_one_here_is_refused_with_the_command_that_mends_it() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'hypothesis<1'"):
        pins("hypothesis<1")


def test_a_package_that_is_not_here_needs_an_exact_version() -> None:
    assert pins("not-here-at-all == 1.7.0") == {"not-here-at-all": "1.7.0"}
    for line in ("not-here-at-all", "not-here-at-all>=1", "not-here-at-all==1.*", "not-here-at-all~=1.0"):
        with pytest.raises(ConfigError, match="its version must be said"):
            pins(line)


def test_two_versions_of_one_package_are_refused() -> None:
    assert pins("not_here==1.0", "Not.Here==1.0") == {"not-here": "1.0"}
    with pytest.raises(ConfigError, match=r"not-here==1.0 and not-here==2.0"):
        pins("not-here==1.0", "not_here==2.0")


def test_markers_are_read_as_on_a_worker() -> None:
    assert pins("a==1; sys_platform == 'win32'", "b==1; sys_platform == 'linux'", "c==1; platform_machine == 'aarch64'") == {"b": "1"}


def test_our_own_package_is_in_the_image_anyway() -> None:
    assert pins("smr_notebook", "smr-notebook[aws]") == {}


@pytest.mark.parametrize(
    "line",
    [
        f"package @ https://me:{SECRET}@example.com/package.whl",
        f"https://me:{SECRET}@example.com/package.whl",
        f"git+https://me:{SECRET}@example.com/package",
        f"--index-url=https://me:{SECRET}@example.com",
        f"-i https://me:{SECRET}@example.com",
        f"./{SECRET}/package.whl",
        f"C:\\{SECRET}\\package.whl",
    ],
)
def test_a_place_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pins(line)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_line_is_pinned_or_refused(line: str) -> None:
    try:
        found = pin_extras([line], machine=MACHINE)
    except ConfigError:
        return
    assert all(Requirement(str(pin)).specifier.contains(pin.version, prereleases=True) for pin in found)


def test_everything_in_the_image_has_one_exact_version_and_the_notebooks_where_it_has_one() -> None:
    extras = pin_extras(["hypothesis", "not-here==1.0"], machine=MACHINE)
    found = pin_all(extras, machine=MACHINE)
    assert len({pin.name for pin in found}) == len(found)
    assert [pin.name for pin in found] == sorted(pin.name for pin in found)
    versions = {pin.name: pin.version for pin in found}
    assert versions["not-here"] == "1.0"
    assert versions["sortedcontainers"] == metadata.version("sortedcontainers"), "what an extra depends on is pinned, too"
    assert not {"ipython", "ipywidgets", "tqdm", "moto"} & versions.keys()
    for name in ("numpy", "pandas", "pyarrow", "boto3", "botocore"):
        assert versions[name] == metadata.version(name)


def test_extras_of_a_package_bring_what_they_need() -> None:
    plain, with_extra = (pin_all(pin_extras([line], machine=MACHINE), machine=MACHINE) for line in ("hypothesis", "hypothesis[pytest]"))
    assert {pin.name for pin in with_extra} - {pin.name for pin in plain} >= {"pytest"}
    assert Pin("hypothesis", installed_version("hypothesis"), ("pytest",)) in with_extra


IMPORT_WITHOUT_OTHERS = """
import importlib.abc, json, sys
allowed, others = map(set, json.load(sys.stdin))
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in others - allowed:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Refuse())
import entry
"""


def test_all_that_a_worker_imports_is_in_the_image(tmp_path: Path) -> None:
    image = plan_image()
    for name, data in image.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    installed = {line.partition("==")[0] for line in image.requirements}
    owners = metadata.packages_distributions()
    allowed = [module for module, names in owners.items() if installed & set(map(package_name, names))]
    variables = {"PYTHONPATH": str(tmp_path / "task"), "AWS_LAMBDA_FUNCTION_NAME": "smr-mapper", "SMR_LOCATION": "aws:", "PATH": "/usr/bin"}
    modules = json.dumps([["smr_notebook", *allowed], list(owners)])
    subprocess.run([sys.executable, "-c", IMPORT_WITHOUT_OTHERS], check=True, input=modules, text=True, env=variables, cwd=tmp_path)


# ---------------------------------------------------------------- the stamp


def test_a_stamp_has_the_extras_that_are_installed() -> None:
    plain, more = environment(), environment(("Hypothesis", "not-here", "numpy", "SMR.Notebook"))
    assert set(more.packages) - set(plain.packages) == {("hypothesis", metadata.version("hypothesis"))}
    assert more.packages == tuple(sorted(more.packages))


def test_the_stamp_of_an_image_says_what_its_workers_will_say() -> None:
    image = plan_image(["hypothesis", "not-here==1.0"])
    assert image.extras == ("hypothesis", "not-here")
    assert set(image.environment.packages) == {*environment(image.extras).packages, ("not-here", "1.0")}
