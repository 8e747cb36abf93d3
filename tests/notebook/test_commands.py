"""`smr kernels`, and `python -m smr_notebook`, which is the same as `smr`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smr_notebook.cli import main
from smr_notebook.cli_setup import kernel_spec

ROOT = Path(__file__).parents[2]


def test_the_kernelspec_is_the_one_that_the_wheel_brings() -> None:
    assert kernel_spec() == json.loads((ROOT / "kernels/jupyter/smr-local/kernel.json").read_text(encoding="utf-8"))


def test_a_kernelspec_comes_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    assert main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    installed = tmp_path / "share/jupyter/kernels/smr-local/kernel.json"
    assert json.loads(installed.read_text(encoding="utf-8")) == kernel_spec()
    main(["kernels", "list"])
    main(["kernels", "remove"])
    assert not installed.exists()
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == ["installed", "smr-local", "removed"]


def test_python_m_runs_the_same_commands() -> None:
    told = subprocess.run([sys.executable, "-m", "smr_notebook", "nbval-sanitize"], check=True, capture_output=True, text=True).stdout
    assert Path(told.strip()).read_text(encoding="utf-8").startswith("[smr ")


def test_a_command_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "COMMAND" in capsys.readouterr().err
