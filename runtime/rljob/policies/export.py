"""Writes a policy in a format that other programs read, and proves that it acts the same."""

from __future__ import annotations

import json
import logging
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rljob.checkpoints import manifest, policy
from rljob.envs.spaces import Arrays
from rljob.errors import InputError, RLJobError, RunError
from rljob.policies.samples import MOST_DIFFERENT, Compared

if TYPE_CHECKING:
    from rljob.policies.loaded import TrainedPolicy

PROOFS = 1000
"""Random inputs with which every file is compared with the policy."""
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
_ROWS = 2

ActsOn = Callable[[Arrays], Mapping[str, np.ndarray]]
"""A written policy as a function: inputs by name, `[N, ...]`, to outputs by name."""


@dataclass(frozen=True)
class ExportedPolicy:
    """A written file.

    Attributes:
        inputs: by name: dtype and shape of one row.
        outputs: likewise.
        difference: the largest one to the policy itself, over `PROOFS` random inputs.
    """

    path: Path
    version: int
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    difference: float


def export(loaded: TrainedPolicy, kind: str, out: Path) -> ExportedPolicy:
    """Write the file `out`. On an error, there is none.

    Args:
        kind: one of `SUFFIXES`.

    Raises:
        InputError: `out` exists, or the format cannot hold this policy.
        RunError: what was written does not act as the policy does, or cannot be written.
    """
    if kind not in SUFFIXES:
        raise InputError(f"--format {kind}: unknown; allowed are {', '.join(SUFFIXES)}")
    if out.suffix != SUFFIXES[kind]:
        raise InputError(f"--out {out}: the name of a file for {kind} ends in {SUFFIXES[kind]}")
    for each in (out, _described_by(out)) if kind == "safetensors" else (out,):
        if each.exists():
            raise InputError(f"--out {out}: {each.name} already exists; choose a new file")
    temporary = out.with_name(f".{out.stem}.{uuid.uuid4().hex[:8]}{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        run, masked = _WRITERS[kind](loaded, temporary)
        compared = Compared.of(loaded, PROOFS, masked)
        outputs = run(compared.inputs)
        difference = compared.difference(loaded, outputs)
        if not difference <= MOST_DIFFERENT:
            what = (
                "chooses other actions" if np.isinf(difference) else f"differs by {difference:.2g}"
            )
            raise RunError(
                f"refused: the written file {what} on {PROOFS:,} observations, at most {MOST_DIFFERENT:g} is allowed; "
                "nothing was written"
            )
        for each in (temporary, _described_by(temporary)):
            if each.exists():
                os.replace(each, _described_by(out) if each.suffix == ".json" else out)
    except OSError as error:
        raise RunError(f"cannot write {error.filename or out}: {error.strerror}") from error
    finally:
        for each in (temporary, _described_by(temporary)):
            each.unlink(missing_ok=True)
    rows = compared.inputs["observation"].shape[0]
    return ExportedPolicy(
        out,
        loaded.version,
        {name: (each.dtype.name, each.shape[1:]) for name, each in compared.inputs.items()},
        {n: (o.dtype.name, o.shape[1:]) for n, o in outputs.items() if len(o) == rows},
        difference,
    )


def _described_by(path: Path) -> Path:
    return path.with_suffix(".json")


def _torch_program(loaded: TrainedPolicy) -> tuple[Any, Any]:
    """The module, and its program of torch.export with a free number of rows."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise InputError('this format needs torch: pip install "rljob[learner]"') from error
    from rljob.policies.torch_policy import TorchPolicy, shapes

    module = TorchPolicy(loaded)
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    example = tuple(
        torch.from_numpy(np.zeros((_ROWS, *shape), dtype))
        for dtype, shape in shapes(loaded, module.input_names).values()
    )
    first, *others = [{0: rows} for _ in example]
    free = (first, tuple(others)) if others else (first,)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, example, dynamic_shapes=free, strict=False)
    except RLJobError:
        raise
    except Exception as error:
        raise InputError(f"torch.export cannot hold this network: {_line(error)}") from error
    return module, program


def _write_torch(loaded: TrainedPolicy, path: Path) -> tuple[ActsOn, bool]:
    import torch

    module, program = _torch_program(loaded)
    torch.export.save(program, path)
    written = torch.export.load(path).module()

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        given = [torch.from_numpy(inputs[name]) for name in module.input_names]
        with torch.no_grad():
            return {name: output.numpy() for name, output in written(*given).items()}

    return run, "mask" in module.input_names


def _write_onnx(loaded: TrainedPolicy, path: Path) -> tuple[ActsOn, bool]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f'--format onnx needs {error.name}: pip install "rljob[export]"'
        ) from error
    import torch

    module, program = _torch_program(loaded)
    example = program.example_inputs[0]
    with torch.no_grad():
        names = list(module(*example))
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, input_names=module.input_names, output_names=names, verbose=False
            )
            assert made is not None
            made.save(str(path))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise InputError(f"onnx cannot hold this network: {_line(error)}") from error

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        outputs = session.run(names, {name: inputs[name] for name in module.input_names})
        return dict(zip(names, outputs, strict=True))

    return run, "mask" in module.input_names


def _write_safetensors(loaded: TrainedPolicy, path: Path) -> tuple[ActsOn, bool]:
    """The arrays as they are, and beside them a JSON file that says what they are."""
    if loaded.form is None:
        raise InputError(
            "safetensors holds the weights of built-in algorithms and networks, whose use the JSON file describes; "
            "this policy acts with code of its own: rljob.load_policy uses it with its run's folder"
        )
    found = manifest.read_manifest(loaded.path)
    path.write_bytes(policy.encode(policy.decode(manifest.read_file(found, manifest.POLICY))))
    described = {
        "format": 1,
        "policyVersion": loaded.version,
        "spaces": loaded.spaces.to_json(),
        "acting": loaded.form,
    }
    _described_by(path).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    from rljob.policies.load import load_file

    again = load_file(path)
    # The same random numbers, by which a table draws among equal values: so every action has to be the same.
    again.draws_like(loaded)

    def run(inputs: Arrays) -> Mapping[str, np.ndarray]:
        action, memory = again.predict(
            inputs["observation"],
            inputs.get("memory"),
            deterministic=True,
            mask=inputs.get("mask"),
        )
        found = {"action": action}
        return found if memory is None else {**found, "next_memory": memory}

    return run, loaded.spaces.masked


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without the warnings of a logger, which are for the authors of the library."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _line(error: BaseException) -> str:
    """The start of what another library raised, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


_WRITERS: Mapping[str, Callable[[TrainedPolicy, Path], tuple[ActsOn, bool]]] = {
    "onnx": _write_onnx,
    "torch": _write_torch,
    "safetensors": _write_safetensors,
}
