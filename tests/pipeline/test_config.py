"""Settings: precedence, origins, errors that name the culprit, and pipeline.yaml as the default run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Given, RunConfig, meanings, resolve
from pipeline.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIDPIPE_ENCODE__CRF", "VIDPIPE_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def _write(folder: Path, text: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_pipeline_yaml_is_the_default_run() -> None:
    content = yaml.safe_load((ROOT / "pipeline.yaml").read_text(encoding="utf-8"))
    assert content == RunConfig().model_dump(mode="json")


def test_pipeline_yaml_keeps_the_order_of_the_stages_and_fits_a_screen() -> None:
    text = (ROOT / "pipeline.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)) == list(RunConfig.model_fields)
    assert len(text.splitlines()) < 70


def test_every_setting_says_what_it_does_in_the_order_of_the_stages() -> None:
    said = meanings()
    assert list(said) == [name for name, _, _ in resolve().rows()]
    assert all(said.values())


def test_a_file_of_the_working_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.yaml").write_text("encode: {crf: 11}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert resolve().config.encode.crf is None
    assert resolve(file=Path("pipeline.yaml")).config.encode.crf == 11


@given(layers=st.sets(st.sampled_from(["flag", "environment", "file"])))
def test_flag_beats_environment_beats_file_beats_default(
    tmp_path_factory: pytest.TempPathFactory, layers: set[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if "environment" in layers:
            patch.setenv("VIDPIPE_ENCODE__CRF", "22")
        flags = {"encode.crf": Given(21, "--crf")} if "flag" in layers else {}
        file = None
        if "file" in layers:
            file = _write(tmp_path_factory.mktemp("settings"), "encode: {crf: 23}")
        resolved = resolve(flags, file)
    row = {name: (value, origin) for name, value, origin in resolved.rows()}["encode.crf"]
    default = RunConfig().encode.crf
    ranking = [("flag", 21, "--crf"), ("environment", 22, "VIDPIPE_ENCODE__CRF"), ("file", 23, str(file))]
    expected = next(
        ((value, origin) for name, value, origin in ranking if name in layers), (default, "default")
    )
    assert row == expected
    assert resolved.config.encode.crf == expected[0]


def test_what_nobody_sets_is_left_alone_by_the_other_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_ENCODE__CRF", "22")
    resolved = resolve({"encode.preset": Given("fast", "--preset")})
    assert (resolved.config.encode.crf, resolved.config.encode.preset) == (22, "fast")
    assert resolved.config.crop == RunConfig().crop


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("encode: {crf: 99}", ["encode.crf", "99", "settings.yaml", "63"]),
        ("encode: {crf: best}", ["encode.crf", "'best'", "settings.yaml"]),
        ("encode: {cfr: 20}", ["encode.cfr", "settings.yaml", "pipeline.yaml"]),
        ("restore: {engine: magic}", ["restore.engine", "'magic'", "openvino", "tensorrt"]),
        ("device: tpu", ["device", "'tpu'", "wanted auto, cpu, cuda or cuda:N"]),
        ("track: {max_gap_frames: 20}", ["track.max_gap_frames", "20", "track.look_ahead_frames", "8"]),
        ("encode: 5", ["encode", "5"]),
        ("[1, 2]", ["list", "sections"]),
        ("gate: {scan: false, scan.x: 3}", ["gate.scan", "value", "settings.yaml"]),
        ("encode: {crf: [", ["settings.yaml", "YAML"]),
    ],
)
def test_bad_settings_are_one_line_naming_value_origin_and_what_was_wanted(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(file=_write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VIDPIPE_ENCODE__CFR", "20"),
        ("VIDPIPE_ENCOD__CRF", "20"),
        ("VIDPIPE_ENCODE__CRF", "best"),
        ("VIDPIPE_ENCODE", "x"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as caught:
        resolve()
    assert variable.removeprefix("VIDPIPE_").split("__")[0].lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    ("variable", "nearest"), [("VIDPIPE_CRF", "VIDPIPE_ENCODE__CRF"), ("VIDPIPE_DEVISE", "VIDPIPE_DEVICE")]
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str
) -> None:
    monkeypatch.setenv(variable, "20")
    with pytest.raises(UsageError, match=f"{variable} .*{nearest}$"):
        resolve()


def test_variables_of_other_rooms_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VIDPIPE_CACHE", "VIDPIPE_REQUIRE"):
        monkeypatch.setenv(variable, "x")
    assert resolve().config == RunConfig()


def test_a_section_set_as_a_value_and_a_flag_inside_it_is_an_error_not_a_crash(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"encode.crf": Given(20, "--crf")}
    with pytest.raises(UsageError, match="section"):
        resolve(flags, _write(tmp_path, "encode: 5"))


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        resolve(file=tmp_path / "missing.yaml")


def test_an_empty_file_is_the_default_run(tmp_path: Path) -> None:
    assert resolve(file=_write(tmp_path, "# nothing yet\n")).config == RunConfig()


def test_a_detection_threshold_works_alone_and_strict_looks_at_every_frame() -> None:
    faces = resolve({"faces.min_score": Given(0.6, "--det-threshold")}).config.faces
    assert (faces.min_score, faces.care) == (0.6, "balanced")
    assert (faces.look_s, faces.fine_look_s) == (faces.every_s, faces.fine_every_s) == (0.12, 0.28)
    strict = resolve({"faces.care": Given("strict", "--care")}).config.faces
    assert (strict.look_s, strict.fine_look_s) == (0, 0)
    with pytest.raises(UsageError, match="no sight is weaker than min_score"):
        resolve({"faces.min_score": Given(0.6, "-"), "faces.birth_score": Given(0.3, "-")})
    with pytest.raises(UsageError, match=r"faces\.care is 'much' \(from --care\)"):
        resolve({"faces.care": Given("much", "--care")})


def test_noise_asks_for_measured_colours_and_is_refused_beside_those_of_nobody() -> None:
    assert resolve().config.protect.values == "nobody"
    noised = resolve({"protect.epsilon": Given(1.0, "--epsilon")})
    assert noised.config.protect.values == "measured"
    assert noised.origins["protect.values"] == "--epsilon"
    with pytest.raises(UsageError, match=r"--perturb changes colours that are measured.*from --values"):
        resolve(
            {"protect.values": Given("nobody", "--values"), "protect.perturb": Given("block", "--perturb")}
        )
    assert resolve({"protect.perturb": Given("none", "--perturb")}).config.protect.values == "nobody"
    assert resolve({"protect.nobody": Given(3, "code")}).config.protect.nobody == "3"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nencode: {crf: *b}", "aliases"),
        ("[" * 5000, "YAML"),
        ("{a: " * 3000, "YAML"),
        ("encode: {crf: .nan}", "finite"),
        ("mask: {scale: .inf}", "finite"),
        ("protect: {epsilon: 1.0e-320}", "greater"),
        ("protect: {hold_s: 1e400}", "finite"),
        ("encode: !!python/object/apply:os.system ['true']", "YAML"),
        ("encode: {crf: {a: {b: {c: 1}}}}", "number"),
        ("1: 2", "not a setting"),
        ("#" * 2_000_000, "bytes"),
    ],
)
def test_hostile_settings_are_one_line(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        resolve(file=_write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
