"""Which network ``restore.net`` names."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.select import engine_file, engine_for
from nets.checkpoint import save
from nets.pixelizer import Pixelizer, PixelizerConfig
from nets.reference.baselines import SRResNet, SRResNetConfig
from nets.registry import WEIGHTS
from pipeline.config import Given, resolve
from pipeline.errors import InputError, MissingError, UsageError
from vidpipe.batches.recipe import recipe
from vidpipe.jobs import restorer_for


def named(net: object) -> str:
    return restorer_for(resolve({"restore.net": Given(str(net), "settings.yaml")}))


@pytest.mark.parametrize("net", ["idn", "nar", "idn-natural", WEIGHTS / "idn.safetensors"])
def test_shipped_networks_and_files(net: object) -> None:
    assert named(net) == str(net)


@pytest.mark.parametrize(("net", "wanted"), [("auto", "idn-natural"), ("idn", "idn-natural"), ("nar", None)])
def test_a_natural_look_has_weights_of_its_own(net: str, wanted: str | None) -> None:
    settings = resolve({"restore.net": Given(net, "x"), "restore.look": Given("natural", "x")})
    if wanted is not None:
        assert restorer_for(settings) == wanted
        return
    with pytest.raises(UsageError, match=r"restore\.look"):
        restorer_for(settings)


def test_auto_is_a_shipped_network() -> None:
    assert named("auto") in ("idn", "nar")


@pytest.mark.parametrize(
    "net", ["magic", "pixelizer-block", "nar-seed", WEIGHTS / "pixelizer-block.safetensors"]
)
def test_what_restores_nothing_is_one_line_with_value_origin_and_what_was_wanted(net: object) -> None:
    with pytest.raises(UsageError) as caught:
        named(net)
    message = str(caught.value)
    assert "\n" not in message
    words = ("restore.net", repr(str(net)), "settings.yaml", "'auto'", "'nar'", "'idn'", ".safetensors")
    assert all(word in message for word in words), message


def test_files_that_cannot_be_run(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(MissingError, match="does not exist"):
        named(path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="no safetensors file"):
        named(path)
    save(path, SRResNet(SRResNetConfig(width=8, blocks=1)))
    with pytest.raises(InputError, match="a network to compare with; the pipeline runs idn, nar, nar-seed"):
        named(path)
    save(path, Pixelizer(PixelizerConfig(width=16, blocks=1)))
    with pytest.raises(UsageError, match="restoring network"):
        named(path)


def test_what_export_made_is_a_network(tmp_path: Path) -> None:
    made = tmp_path / "mine.onnx"
    with pytest.raises(MissingError, match="vidpipe export"):
        named(made)
    made.write_bytes(b"a text")
    with pytest.raises(InputError, match="not a readable ONNX file"):
        named(made)
    made.write_bytes(engine_file("idn").read_bytes())
    assert named(made) == str(made)
    assert engine_for(str(made), "auto", "cpu") == made
    settings = resolve({"restore.net": Given(str(made), "x")})
    before = recipe("reconstruct", settings)
    model = onnx.load(made)
    model.doc_string = "another one"
    onnx.save(model, made)
    assert recipe("reconstruct", settings) != before
    made.write_bytes(engine_file("pixelizer-block").read_bytes())
    with pytest.raises(UsageError, match="restoring network"):
        named(made)
