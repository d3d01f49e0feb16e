"""`rljob render`: all that the operator would make, as YAML that kubectl reads, without a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rljob import spec
from rljob.cli.main import main
from rljob.kube.manifests import build
from rljob.kube.settings import OperatorSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = EXAMPLES / "cartpole-ppo.yaml"


def test_prints_what_the_operator_makes(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--namespace", "rl", "--set", "rollout.replicas=3"]
    assert main(["render", str(JOB), *options]) == 0
    shown = list(yaml.safe_load_all(capsys.readouterr().out))
    overrides = ["metadata.namespace=rl", "rollout.replicas=3"]
    made = build(spec.load(JOB, overrides), None, OperatorSettings())
    workloads = made.workloads.values()
    assert [child for child in shown if child["kind"] != "Secret"] == [*made.shared, *workloads]
    assert {child["metadata"]["namespace"] for child in shown} == {"rl"}
    assert made.workloads["rollout"]["spec"]["replicas"] == 3


def test_says_that_keys_are_generated_and_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(JOB)]) == 0
    text = capsys.readouterr().out
    (document,) = (part for part in text.split("---\n") if "kind: Secret" in part)
    assert document.startswith("# Generated when the job is created")
    assert yaml.safe_load(document)["data"] == {}


def test_bad_template_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    template = "  rollout:\n    template:\n      spec:\n        containers: {}\n"
    file.write_text(JOB.read_text().replace("  rollout:\n", template, 1))
    line = file.read_text().splitlines().index("        containers: {}") + 1
    assert main(["render", str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{file}:{line}: rollout.template.spec.containers: {{}}")


def test_namespace_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(JOB), "-n", "1"]) == 0
    shown = yaml.safe_load_all(capsys.readouterr().out)
    assert {child["metadata"]["namespace"] for child in shown} == {"1"}


def test_needs_no_cluster_and_nothing_that_is_slow() -> None:
    heavy = ("kubernetes", "kopf", "torch", "numpy", "zmq", "gymnasium")
    code = (
        "import sys; from rljob.cli.main import main; "
        f"assert main(['render', {str(JOB)!r}]) == 0; "
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stderr.strip() == "[]"


def test_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "rljob", "render", str(JOB)]
    with open(write, "wb") as pipe:
        done = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert (done.returncode, done.stderr) == (0, "")
