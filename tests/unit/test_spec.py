"""The RLJob: what is accepted, what is refused and in which words, and YAML in both directions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from rljob import spec
from rljob.errors import InputError
from rljob.spec import invalid
from rljob.spec.code import check_syntax
from rljob.spec.duration import Duration
from tests.unit.specs import BAD, GOOD, Job, job

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
TEXT = """\
apiVersion: rljob.dev/v1alpha1
kind: RLJob
metadata:
  name: cartpole
spec:
  environment: {id: CartPole-v1}
  algorithm:
    name: PPO
    config:
      learningRate: 1e-3
      clip: 7
  stop:
    steps: 1e6
  rollout:
    replicas: 2
"""


def refusal(content: str | Job, *overrides: str, file: str = "job.yaml") -> str:
    with pytest.raises(InputError) as caught:
        spec.parse(content, file=file, overrides=overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_good_jobs_are_accepted_and_round_trip(name: str) -> None:
    parsed = spec.parse(GOOD[name])
    again = spec.parse(spec.dump(parsed))
    assert again == parsed
    assert spec.dump(again) == spec.dump(parsed)


@pytest.mark.parametrize(("name", "bad", "path", "words"), BAD, ids=[row[0] for row in BAD])
def test_bad_jobs_are_refused(name: str, bad: Job, path: str, words: str) -> None:
    message = refusal(bad, file="")
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "pydantic" not in message
    assert "Input should" not in message
    assert len(message.splitlines()) <= 2, "one problem, one message"


def test_a_key_without_text_is_shown() -> None:
    assert refusal(job(**{"": 1}), file="").startswith('"": unknown field')


@pytest.mark.parametrize("module", ["rljob", "torch", "random", "types"])
def test_modules_of_a_job_hide_none_of_the_roles(module: str) -> None:
    message = refusal(job(code={f"{module}.py": ""}), file="")
    assert message == f"code.{module}.py: would hide the module {module}; choose another name"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def f(:\n", "line 1: invalid syntax"),
        ("x = 1\n  y = 2\n", "line 2: unexpected indent"),
        ("\0", ""),
    ],
)
def test_modules_of_a_job_that_are_no_python_are_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"is not valid Python: .*{problem}") as raised:
        check_syntax({"good.py": "x = 1\n", "my_env.py": text})
    assert raised.value.path == "code.my_env.py"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    assert spec.load(path).metadata.name == path.stem


def test_examples_are_there() -> None:
    assert len(EXAMPLES) >= 4


def test_defaults() -> None:
    parsed = spec.parse(job()).spec
    assert (parsed.network.name, parsed.network.entry_point) == ("mlp", None)
    assert (parsed.rollout.replicas, parsed.rollout.envs_per_replica) == (2, 16)
    assert (parsed.buffer.capacity, parsed.buffer.max_policy_lag) == (100_000, 4)
    assert parsed.buffer.samples_per_insert is None
    assert parsed.learner.device == "auto"
    assert parsed.evaluation is None
    assert parsed.checkpoint.interval.seconds == 60.0
    assert (parsed.seed, parsed.strict, parsed.suspend, parsed.backoff_limit) == (
        None,
        False,
        False,
        3,
    )


def test_null_is_the_default() -> None:
    parsed = spec.parse(job(rollout={"replicas": None}, buffer={"template": None}))
    assert parsed == spec.parse(job())
    text = TEXT + "  buffer:\n  evaluation: ~\n"
    assert spec.parse(text).spec.buffer == spec.BufferSpec()


def test_null_inside_free_fields_is_kept() -> None:
    parsed = spec.parse(GOOD["environment-kwargs"])
    assert parsed.spec.environment.kwargs == {"render_mode": None}


def test_python_names_are_for_python_only() -> None:
    assert spec.RolloutSpec(envs_per_replica=4).envs_per_replica == 4
    made = spec.RLJob(
        metadata=spec.Metadata(name="a"),
        spec=spec.RLJobSpec(
            environment=spec.EnvironmentSpec(id="CartPole-v1"),
            algorithm=spec.AlgorithmSpec(name="DQN"),
            stop=spec.StopSpec(duration=Duration("5m")),
        ),
    )
    assert spec.parse(spec.dump(made)) == made


def test_jobs_do_not_change() -> None:
    with pytest.raises(ValidationError):
        spec.parse(job()).spec.seed = 1


# Lines and several problems at once


def test_line_of_the_key() -> None:
    message = refusal(TEXT.replace("replicas: 2", "replica: 2"))
    assert message == (
        "job.yaml:15: rollout.replica: unknown field. Did you mean replicas?\n"
        "  rollout knows: replicas, envsPerReplica, precision, minReplicas, maxReplicas, applications, template"
    )


def test_line_of_the_section_when_the_key_is_missing() -> None:
    assert refusal(TEXT.replace("id:", "kwargs:").replace("CartPole-v1", "{}")).startswith(
        "job.yaml:6: environment: needs one of id, entryPoint and spaces"
    )
    assert refusal(TEXT.replace("  name: cartpole", "  namespace: a")).startswith(
        "job.yaml:3: metadata.name: is required"
    )
    assert refusal("spec: {}").startswith("job.yaml:1: metadata: is required")


def test_all_problems_are_told_in_the_order_of_their_lines() -> None:
    text = "spec:\n  rollout: {replicas: -1}\n  stop: {steps: 0}\n  seed: -1\nmetadata: {name: A}\n"
    starts = [line.split(": ")[:2] for line in refusal(text).splitlines()]
    assert starts == [
        ["job.yaml:1", "environment"],
        ["job.yaml:1", "algorithm"],
        ["job.yaml:2", "rollout.replicas"],
        ["job.yaml:3", "stop.steps"],
        ["job.yaml:4", "seed"],
        ["job.yaml:5", "metadata.name"],
    ]


def test_many_problems_are_cut() -> None:
    lines = refusal(job(**{f"x{index}": 1 for index in range(30)})).splitlines()
    assert lines[-1] == "… and 10 more"


def test_source_gives_lines_to_later_errors() -> None:
    parsed = spec.parse(TEXT, file="job.yaml", overrides=["algorithm.config.gamma=2"])
    assert parsed.source.line("algorithm.config.clip") == 11
    assert parsed.source.line("algorithm.config.unset") == 9
    late = spec.locate(parsed, InputError("7 is too much", path="algorithm.config.clip"))
    assert str(late) == "job.yaml:11: algorithm.config.clip: 7 is too much"
    late = spec.locate(parsed, InputError("no", path="algorithm.config.gamma"))
    assert str(late) == "--set algorithm.config.gamma=2: algorithm.config.gamma: no"
    assert spec.locate(parsed, late) is late
    assert str(spec.locate(spec.parse(job()), InputError("no", path="seed"))) == "seed: no"


# The same words for the settings of algorithms and networks


class Inner(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
    final_value: float = 0.0


class PPOConfig(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
    learning_rate: float = 3e-4
    hidden: tuple[int, ...] = (64,)
    schedule: Inner | None = None
    rule: str | int | None = None

    def model_post_init(self, context: Any) -> None:
        if self.learning_rate > 1:
            raise ValueError("learningRate must not be above 1")


def test_settings_of_an_algorithm() -> None:
    def settings(**values: Any) -> str:
        with pytest.raises(InputError) as caught:
            invalid.checked(PPOConfig, values, path="algorithm.config", label="PPO")
        return str(caught.value)

    assert settings(learning_rate=1.0) == (
        "algorithm.config.learning_rate: unknown setting of PPO. Did you mean learningRate?\n"
        "  PPO knows: learningRate, hidden, schedule, rule"
    )
    assert settings(schedule={"finalvalue": 1}) == (
        "algorithm.config.schedule.finalvalue: unknown field. Did you mean finalValue?\n"
        "  schedule knows: finalValue"
    )
    assert settings(hidden=[64, "x"]) == 'algorithm.config.hidden.1: "x" is not allowed; an integer'
    assert (
        settings(hidden=3)
        == "algorithm.config.hidden: 3 is not allowed; a list, each item an integer"
    )
    assert "algorithm.config.rule: [1] is not allowed; text or an integer" in settings(rule=[1])
    assert settings(learningRate=2) == "algorithm.config: learningRate must not be above 1"


def test_several_settings_are_located() -> None:
    parsed = spec.parse(TEXT, file="job.yaml")
    config = parsed.spec.algorithm.config
    with pytest.raises(InputError) as caught:
        invalid.checked(PPOConfig, {**config, "hidden": 1}, path="algorithm.config", label="PPO")
    located = spec.locate(parsed, caught.value)
    assert [line.partition(": ")[0] for line in str(located).splitlines() if line[0] != " "] == [
        "job.yaml:9",
        "job.yaml:11",
    ]


# Overrides


def test_overrides_replace_and_add() -> None:
    overrides = [
        "algorithm.config.learningRate=1e-4",
        "algorithm.config.schedule.kind=linear",
        "spec.rollout.replicas=5",
        "metadata.name=other",
        "evaluation={interval: 10s}",
        "stop.meanReturn=475",
        "environment.kwargs.note=a=b",
        "rollout.minReplicas=",
    ]
    parsed = spec.parse(TEXT, overrides=overrides)
    config = parsed.spec.algorithm.config
    assert config == {"learningRate": 1e-4, "clip": 7, "schedule": {"kind": "linear"}}
    assert isinstance(config["learningRate"], float)
    assert (parsed.spec.rollout.replicas, parsed.metadata.name) == (5, "other")
    assert parsed.spec.evaluation is not None
    assert parsed.spec.evaluation.interval.seconds == 10.0
    assert (parsed.spec.stop.steps, parsed.spec.stop.mean_return) == (1_000_000, 475.0)
    assert parsed.spec.environment.kwargs == {"note": "a=b"}


def test_overrides_leave_the_given_dictionary_alone() -> None:
    given_job = job()
    spec.parse(given_job, overrides=["stop.steps=5"])
    assert given_job == job()


def test_an_override_can_swap_id_for_entry_point() -> None:
    parsed = spec.parse(TEXT, overrides=["environment.id=null", "environment.entryPoint=a:b"])
    assert parsed.spec.environment.entry_point == "a:b"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rollout.replica=1", "rollout.replica: unknown field. Did you mean replicas?"),
        ("rollot.replicas=1", "rollot: unknown field. Did you mean rollout?"),
        ("rollout.replicas=-1", "rollout.replicas: -1 is not allowed; an integer from 1 to 10000"),
        ("rollout={replicas: 0}", "rollout.replicas: 0 is not allowed"),
        ("rollout.replicas", "write PATH=VALUE, as in --set rollout.replicas=4"),
        ("=1", "write PATH=VALUE"),
        ("rollout..replicas=1", "write PATH=VALUE"),
        ("spec={}", "write PATH=VALUE"),
        ("rollout.replicas.x=1", "rollout.replicas.x: replicas is 2 and has no fields below it"),
        ("rollout.replicas=[", "not valid YAML"),
        ("metadata.name=A", 'metadata.name: "A" is not allowed'),
    ],
)
def test_bad_overrides_name_themselves(override: str, words: str) -> None:
    message = refusal(TEXT, override)
    assert message.startswith(f"--set {override}:")
    assert words in message


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("3.", 3.0), (".5", 0.5), ("-1.5e+3", -1500.0),
        ("10", 10), ("0x1f", 31), ("-3", -3),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("'yes'", "yes"), ("'1:30'", "1:30"), ("_1", "_1"), ("'2024-01-01'", "2024-01-01"),
        ('"1e-3"', "1e-3"), ("e5", "e5"), (".", "."),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = spec.parse(TEXT + f"  network: {{config: {{x: {text}}}}}\n").spec.network.config["x"]
    assert found == value
    assert type(found) is type(value)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


@given(st.dictionaries(st.text(), ANY, max_size=4))
def test_any_settings_round_trip(config: dict[str, Any]) -> None:
    parsed = spec.parse(job(algorithm={"name": "PPO", "config": config}))
    again = spec.parse(spec.dump(parsed)).spec.algorithm.config
    assert again == config
    assert repr(again) == repr(config), "1.0 stays 1.0"


def test_dump_is_readable() -> None:
    text = spec.dump(spec.parse({**job(), "spec": GOOD["code"]["spec"]}))
    assert text.startswith(
        "apiVersion: rljob.dev/v1alpha1\nkind: RLJob\nmetadata:\n  name: test\nspec:\n"
    )
    assert "my_env.py: |\n      def make():\n" in text
    assert "interval: 60s\n" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "job.yaml: is empty"),
        ("---\n# only a comment\n", "job.yaml: is empty"),
        ("- a\n- b\n", "job.yaml: holds a list; an RLJob is a mapping"),
        ("hello", "job.yaml: holds one plain value"),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", "job.yaml:3: holds 3 YAML documents; give one RLJob per file"),
        ("spec:\n  a: 1\n  b: 2\n  a: 3\n", "job.yaml:4: a is given twice, first on line 2"),
        ("a: {b: 1, b: 2}", "job.yaml:1: b is given twice"),
        ("spec:\n  a: [1, 2\n", "job.yaml:3: not valid YAML at column 1: expected ',' or ']'"),
        ("spec:\n\ta: 1\n", "job.yaml:2: not valid YAML at column 1: found character '\\t'"),
        ("a: *b\n", "job.yaml:1: not valid YAML at column 4: found undefined alias 'b'"),
        ("a: 'x\n", "not valid YAML at column"),
        ("a: \x00", "job.yaml: not valid YAML: unacceptable character"),
        ("spec:\n  1: x\n", "job.yaml:2: the key 1 is not text: quote it"),
        ("? [a]\n: 1\n", "the key a list or a mapping is not text"),
        ("a: !!python/object:os.system x\n", "job.yaml:1: the YAML tag"),
        ("a: !!set {x}\n", "job.yaml:1: the YAML tag"),
        ("a: !!int x\n", "job.yaml: not valid YAML"),
        ("a: &a [*a]\n", "job.yaml:1: contains itself through an alias"),
        ("a: " + "[" * 500 + "]" * 500, "nested too deeply"),
        ("a: " + "[" * 50_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_bad_yaml(text: str, message: str) -> None:
    assert message in refusal(text)


def test_aliases_that_multiply_are_refused() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expands to more than 100,000 values" in refusal("\n".join(rows))


def test_one_document_with_separators_and_merge_keys() -> None:
    text = (
        "---\n" + TEXT + "  buffer: &b {capacity: 5}\n  learner: {template: {<<: *b, x: 1}}\n---\n"
    )
    assert spec.parse(text).spec.learner.template == {"capacity": 5, "x": 1}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def load(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            spec.load(path)
        return str(caught.value)

    assert load(tmp_path / "absent.yaml") == f"{tmp_path}/absent.yaml: no such file"
    assert "is a directory" in load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    assert "is not UTF-8 text (byte 3)" in load(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    assert "is larger than 1 MiB" in load(tmp_path / "large.yaml")
    (tmp_path / "bom.yaml").write_text("\ufeff" + TEXT, encoding="utf-8")
    assert spec.load(str(tmp_path / "bom.yaml")).metadata.name == "cartpole"


# Durations


@pytest.mark.parametrize(
    ("value", "text", "seconds"),
    [
        ("90s", "90s", 90.0),
        ("10m", "10m", 600.0),
        ("1h30m", "1h30m", 5400.0),
        ("500ms", "500ms", 0.5),
        ("1.5s", "1.5s", 1.5),
        (30, "30s", 30.0),
        (30.0, "30s", 30.0),
    ],
)
def test_durations(value: Any, text: str, seconds: float) -> None:
    duration = spec.StopSpec(duration=value).duration
    assert duration is not None
    assert (duration.text, str(duration), duration.seconds) == (text, text, seconds)


def test_durations_compare_by_length() -> None:
    assert Duration("60s") == Duration("1m") == Duration(60)
    assert Duration("60s") != Duration("61s")


@pytest.mark.parametrize(
    "value", ["", "5", "s", "-5s", "5 s", "1d", "1m 5s", "1M", "0s", "0.0s", "8761h", -1, 1.5, []]
)
def test_bad_durations(value: Any) -> None:
    with pytest.raises(ValidationError):
        spec.EvaluationSpec(interval=value)


def test_importing_the_spec_stays_cheap() -> None:
    code = (
        "import sys, rljob.spec\n"
        "print(*{m.split('.')[0] for m in sys.modules} & {'numpy', 'torch', 'zmq', 'gymnasium', 'rich'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
