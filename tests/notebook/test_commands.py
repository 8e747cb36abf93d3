"""`smr kernels`, and `python -m smr_notebook`, which is the same as `smr`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from smr_notebook.cli import main
from smr_notebook.commands.setup import kernel_specs

ROOT = Path(__file__).parents[2]
ASKED = """
import smr_notebook as smr
from smr_notebook.config import from_machine
print(from_machine({}).platform)
print(smr.use(smr.Session("local")).backend.name)
"""


KERNELS = ("local", "aws")


def test_the_kernelspecs_are_those_that_the_wheel_brings() -> None:
    files = (ROOT / "kernels/jupyter").glob("*/kernel.json")
    assert kernel_specs() == {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def test_there_is_a_kernelspec_for_each_platform_that_needs_no_address() -> None:
    assert sorted(kernel_specs()) == sorted(f"smr-{platform}" for platform in KERNELS)


def test_kernelspecs_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    assert main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    installed = {name: tmp_path / "share/jupyter/kernels" / name / "kernel.json" for name in kernel_specs()}
    assert {name: json.loads(file.read_text(encoding="utf-8")) for name, file in installed.items()} == kernel_specs()
    main(["kernels", "list"])
    assert main(["kernels", "remove", "--prefix", str(tmp_path)]) == 0
    assert not any(file.exists() for file in installed.values())
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["installed", "installed", "smr-aws", "smr-local", "removed", "removed"]


def test_what_is_removed_is_what_is_in_the_place_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "user"))
    for place in (["--user"], ["--prefix", str(tmp_path / "other")]):
        assert main(["kernels", "install", *place]) == 0
    own = tmp_path / "user" / "kernels" / "smr-local" / "kernel.json"
    other = tmp_path / "other/share/jupyter/kernels/smr-local/kernel.json"
    assert (own.exists(), other.exists()) == (True, True)
    assert main(["kernels", "remove", "--user"]) == 0
    assert (own.exists(), other.exists()) == (False, True)
    capsys.readouterr()
    assert main(["kernels", "remove", "--user"]) == 0
    assert f"smr-local is not installed in {tmp_path / 'user' / 'kernels'}; `smr kernels list` shows" in capsys.readouterr().out


def test_what_pip_installed_is_left_to_pip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment as pip makes it: the list of the package names one of the kernelspecs."""
    assert main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    about = tmp_path / "lib/python3.11/site-packages/smr_notebook-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: smr_notebook\nVersion: 0.1.0\n", encoding="utf-8")
    (about / "RECORD").write_text("../../../share/jupyter/kernels/smr-local/kernel.json,,\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["kernels", "remove", "--prefix", str(tmp_path)]) == 1
    kernels = tmp_path / "share/jupyter/kernels"
    assert [path.name for path in kernels.iterdir()] == ["smr-local"]
    told = capsys.readouterr().out
    assert f"smr-local stays in {kernels / 'smr-local'}: pip installed it with the package" in told
    assert f"removed {kernels / 'smr-aws'}" in told


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["kernels", "install", "--prefix", str(tmp_path / "file")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("smr: kernels install: smr-local cannot be written to ")
    assert "Give another place: --user, or --prefix" in told


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of jupyter_client and zmq
@pytest.mark.filterwarnings("default::ResourceWarning")
@pytest.mark.parametrize("platform", KERNELS)
def test_a_kernel_says_where_jobs_run_and_a_cell_may_say_otherwise(
    platform: str, engine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    main(["kernels", "install", "--prefix", str(tmp_path)])
    manager, client = start_new_kernel(kernel_name=f"smr-{platform}", env=engine | {"SMR_PLATFORM": "local"})
    told: list[str] = []
    for cell in ("%smr help", ASKED):
        reply = client.execute_interactive(cell, timeout=120, output_hook=lambda message: told.append(message["content"].get("text", "")))
        assert reply["content"]["status"] == "ok"
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert "".join(told).splitlines() == [platform, "local"]


def test_python_m_runs_the_same_commands() -> None:
    told = subprocess.run([sys.executable, "-m", "smr_notebook", "nbval-sanitize"], check=True, capture_output=True, text=True).stdout
    assert Path(told.strip()).read_text(encoding="utf-8").startswith("[smr ")


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "COMMAND" in capsys.readouterr().err
