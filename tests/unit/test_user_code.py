"""What user code raises, prints and starts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rljob
from rljob.errors import AskedToEnd, InputError, UserCodeError
from rljob.user_code.entry_point import load_entry_point
from rljob.user_code.failure import explain, from_user_code, rethrow
from rljob.user_code.generators import seed_global_generators
from rljob.user_code.host import hosting


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines"), "ValueError: two lines"),
        (SystemExit("no licence"), "SystemExit: sys.exit('no licence') was called"),
        (SystemExit(0), "SystemExit: sys.exit(0) was called"),
        (KeyError(), "KeyError"),
    ],
)
def test_every_way_out_is_an_error_with_its_place(error: BaseException, text: str) -> None:
    with pytest.raises(UserCodeError) as caught:
        rethrow("environment 3 raised at step 7", raised(error))
    message = str(caught.value)
    assert message.startswith(f"environment 3 raised at step 7: {text} ({__file__}:")
    assert message.endswith("in raised)")
    assert "rljob/user_code" not in caught.value.trace


def test_requests_to_end_and_errors_of_rljob_stay_what_they_are() -> None:
    for error in (AskedToEnd(), InputError("no", path="a")):
        with pytest.raises(type(error)) as caught:
            rethrow("x", error)
        assert caught.value is error


def test_ctrl_c_stays_ctrl_c_where_nothing_handles_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        rethrow("x", KeyboardInterrupt())


def test_ctrl_c_is_told_from_what_user_code_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with hosting("rljob eval"):
        with pytest.raises(UserCodeError, match="x: KeyboardInterrupt"):
            rethrow("x", raised(KeyboardInterrupt()))
        with pytest.raises(AskedToEnd):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_user_code_starts_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = pytest.raises(InputError, match=r"test_user_code\.py:\d+ starts a run in rollout-1")
    with hosting("rollout-1"), said:
        rljob.run({"spec": {"environment": {"id": "CartPole-v1"}}})
    assert not (tmp_path / "runs").exists()


def test_what_came_through_user_code_is_told_with_its_place() -> None:
    found = from_user_code(raised(ValueError("no idea")))
    assert found is not None
    assert str(found).startswith(f"user code raised ValueError: no idea ({__file__}:")
    assert "raise error" in found.trace
    assert from_user_code(raised(InputError("no"))) is None
    assert from_user_code(raised(AskedToEnd())) is None
    # No frame is a user's.
    assert from_user_code(ValueError("ours")) is None


def test_a_missing_module_names_what_to_install() -> None:
    with pytest.raises(InputError, match=r"cannot import ale_pyx?: .*") as caught:
        load_entry_point("ale_pyx:Env", "environment.entryPoint")
    assert "must be installed" in str(caught.value)
    assert 'pip install "rljob[atari]"' in explain(ModuleNotFoundError("no", name="ale_py.roms"))


def test_main_is_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="Put Env into a module of its own"):
        load_entry_point("__main__:Env", "environment.entryPoint")


def test_a_module_that_is_not_there_has_no_place() -> None:
    with pytest.raises(InputError) as caught:
        load_entry_point("nope_nothing:X", "algorithm.entryPoint")
    assert "No module named 'nope_nothing'. It must be installed" in caught.value.message
    assert "importlib" not in caught.value.message


def test_an_import_that_ends_the_process_is_invalid_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_at_import.py").write_text("import sys\nsys.exit('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        InputError, match=r"SystemExit: sys.exit\('no licence'\) was called \(.*ends_at_import.py:2"
    ):
        load_entry_point("ends_at_import:Env", "environment.entryPoint")


def test_a_part_of_torch_can_be_imported_while_another_thread_imports_torch(
    tmp_path: Path,
) -> None:
    package = tmp_path / "torch"
    (package / "nn").mkdir(parents=True)
    (package / "nn" / "__init__.py").write_text("import torch\nlayer = torch.made\n")
    # As the real one, it cannot be imported again after it failed. It goes on as soon as the other import holds a lock.
    (package / "__init__.py").write_text(
        "import _frozen_importlib, time, builtins\n"
        "if vars(builtins).setdefault('torch_began', False):\n"
        "    raise ImportError('only once')\n"
        "builtins.torch_began = True\n"
        "builtins.torch_begins.set()\n"
        "until = time.monotonic() + 0.3\n"
        "while 'torch.nn' not in _frozen_importlib._module_locks and time.monotonic() < until:\n"
        "    time.sleep(0.001)\n"
        "made = 1\n"
        "import torch.nn\n"
        "layer = torch.nn.layer\n"
    )
    (tmp_path / "mine.py").write_text("from torch.nn import layer as used\n")
    program = (
        "import builtins, importlib, threading\n"
        "from rljob.user_code.entry_point import load_entry_point\n"
        "builtins.torch_begins = threading.Event()\n"
        "threading.Thread(target=importlib.import_module, args=('torch',)).start()\n"
        "assert builtins.torch_begins.wait(20)\n"
        "print(load_entry_point('mine:used', 'algorithm.entryPoint'))\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_module_that_is_being_imported_starts_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = "{'spec': {'environment': {'entryPoint': 'starts_a_run:Env'}}}"
    (tmp_path / "starts_a_run.py").write_text(f"import rljob\nrljob.run({job})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="starts_a_run starts a run when it is imported"):
        load_entry_point("starts_a_run:Env", "environment.entryPoint")
    assert not (tmp_path / "runs").exists()


def test_global_generators_follow_the_seed() -> None:
    draws = []
    for seed in ((1, 0), (1, 0), (1, 1)):
        seed_global_generators(seed)
        draws.append((random.random(), float(np.random.rand())))
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_what_others_print_goes_to_standard_error() -> None:
    code = (
        "import os, sys\n"
        "from rljob.user_code.output import own_output\n"
        "with own_output() as output:\n"
        "    print('chatty'); os.write(1, b'native\\n'); sys.stdout = None\n"
        "    output.write('{}\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}
    assert "chatty" in done.stderr
    assert "native" in done.stderr
