"""`rljob export`: write a policy as a file that other programs read, proven to act the same."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "run", metavar="RUN", help="a run's folder, one checkpoint, or a job's name on the cluster"
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=("onnx", "torch", "safetensors"),
        help="onnx: for onnxruntime; torch: a program of torch.export; safetensors: weights and a JSON file",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the new file; default: policy.onnx, .pt2 or .safetensors",
    )
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Export and print what the file takes and gives."""
    from rljob.policies.export import PROOFS, SUFFIXES, export
    from rljob.policies.load import load_policy

    out = arguments.out or Path(f"policy{SUFFIXES[arguments.format]}")
    written = export(load_policy(arguments.run), arguments.format, out)
    size = written.path.stat().st_size / 1000
    print(f"{written.path}: policy version {written.version}, {size:,.0f} kB")
    if arguments.format != "safetensors":
        print(f"  inputs   {_table(written.inputs)}")
        print(f"  outputs  {_table(written.outputs)}")
    print(f"  equal on {PROOFS:,} observations (largest difference {written.difference:.1g})")
    return 0


def _table(arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(
        f"{name} {dtype} [{', '.join(('N', *map(str, shape)))}]"
        for name, (dtype, shape) in arrays.items()
    )
