"""Completion of the command line, in a real bash and as kubectl asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rljob.cli import completion
from rljob.cli.main import COMMANDS, main

BIN = Path(sys.executable).parent
ASK = """
eval "$(rljob completion bash)"
read -r _ _ _ _ _ _ function _ <<<"$(complete -p rljob)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
"$function" rljob
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(line: str, folder: Path) -> list[str]:
    """What bash offers after this much of a command line."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", ASK, "bash", line]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


def kubectl(*words: str) -> list[str]:
    """What the program that kubectl runs answers to these words."""
    command = [str(BIN / "kubectl_complete-rl"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rljob ", sorted(COMMANDS)),
        ("rljob re", ["render", "report", "resume"]),
        ("rljob --debug sca", ["scale"]),
        ("rljob run --tr", ["--trace", "--transport"]),
        ("rljob run --transport ", ["ipc", "tcp"]),
        ("rljob role ", ["buffer", "evaluator", "learner", "rollout"]),
        ("rljob run jo", ["job.yaml", "jobs/"]),
        # A job's name is not a file.
        ("rljob logs jo", []),
    ],
)
def test_bash_offers_what_can_follow(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    (tmp_path / "jobs").mkdir()
    assert bash(line, tmp_path) == offered


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("sta",), ["status", ":4"]),
        (("status", "--nam"), ["--namespace", ":4"]),
        (("run", "--transport", ""), ["ipc", "tcp", ":4"]),
        # The shell completes files.
        (("run", "REA"), [":0"]),
    ],
)
def test_kubectl_is_told_what_can_follow(words: tuple[str, ...], lines: list[str]) -> None:
    assert kubectl(*words) == lines


@pytest.mark.parametrize("words", [(), ("",)])
def test_kubectl_is_told_all_commands(words: tuple[str, ...]) -> None:
    assert kubectl(*words) == [*COMMANDS, ":4"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "rljob" in text
    assert {"bash": "complete ", "zsh": "compdef ", "fish": "complete --command"}[shell] in text
