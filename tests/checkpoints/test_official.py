# SPDX-License-Identifier: Apache-2.0
"""Official torch files: every form gives the same weights, and nothing in a file is ever run."""

from __future__ import annotations

import math
import pickle
import sys
import zipfile
from argparse import Namespace
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from checkpoint_files import TEXT, Calls, namespace, official, omegaconf_like, payloads, weights

from longtake.checkpoints import read_torch
from longtake.errors import CheckpointError

PAYLOADS = sorted(payloads(Path("unused")))


def assert_same(found: dict[str, torch.Tensor]) -> None:
    expected = weights()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert type(found[name]) is torch.Tensor
        assert not found[name].requires_grad
        assert torch.equal(found[name], tensor)


def omegaconf_file(path: Path, tree: Any) -> Path:
    with omegaconf_like() as build:
        torch.save(official(build(tree)), path)
    assert "omegaconf.dictconfig" not in sys.modules
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_namespace(tmp_path: Path, zipped: bool) -> None:
    torch.save(official(namespace()), tmp_path / "f.pth", _use_new_zipfile_serialization=zipped)
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.args_text == TEXT
    assert read.class_name == "ARCroco3DStereo"
    assert read.config is not None
    assert read.config["depth_mode"] == ("exp", -math.inf, math.inf)
    assert read.config["img_size"] == (224, 224)
    assert read.notes == ()


@pytest.mark.parametrize(
    "tree",
    [
        {"model": TEXT, "lr": 1e-4, "sizes": [1, "two", {"three": None}], "missing": "???"},
        {"model": "${parts.net}", "parts": {"net": TEXT}},
        {"model": "cut3r", "train": {"deep": [{"model": TEXT}]}},
    ],
    ids=["plain", "reference", "nested"],
)
def test_omegaconf_look_alike(tmp_path: Path, tree: dict[str, Any]) -> None:
    read = read_torch(omegaconf_file(tmp_path / "f.pth", tree))
    assert_same(read.model)
    assert read.args_text == TEXT
    assert read.config is not None


def test_real_omegaconf(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    tree = {"model": TEXT, "lr": 1e-4, "again": "${model}", "list": [1, {"a": None}], "path": Path("x")}
    torch.save(official(omegaconf.OmegaConf.create(tree)), tmp_path / "f.pth")
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.args_text == TEXT


class Level(Enum):
    HIGH = 1


class Arguments(dict):  # as easydict and its kin
    """A subclass of dict with attributes too."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.__dict__.update(values)


class Odd:
    """Refuses to be unpickled, if anybody should let it."""

    def __init__(self) -> None:
        self.model = 3

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("code of the file's class was run")


@pytest.mark.parametrize("args", [Odd(), Level.HIGH, 7, None, [Odd()], Namespace(model=Odd()), b"bytes", print])
def test_weights_load_where_the_arguments_make_no_sense(tmp_path: Path, args: Any) -> None:
    torch.save(official(args), tmp_path / "f.pth")
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.config is None
    assert any("arguments" in note for note in read.notes)


def test_arguments_in_a_subclass_of_dict(tmp_path: Path) -> None:
    torch.save(official(Arguments(model=TEXT)), tmp_path / "f.pth")
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.args_text == TEXT


def test_arguments_of_a_module_that_is_gone(tmp_path: Path) -> None:
    module = ModuleType("a_package_nobody_has.deep")
    module.Thing = type("Thing", (), {"__module__": module.__name__, "__qualname__": "Thing"})  # pyright: ignore
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "a_package_nobody_has", ModuleType("a_package_nobody_has"))
        patch.setitem(sys.modules, module.__name__, module)
        thing = module.Thing()
        thing.model = TEXT
        torch.save(official(thing), tmp_path / "f.pth")
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.args_text == TEXT
    assert "a_package_nobody_has.deep.Thing" in " ".join(read.notes)


def test_bad_constructor_text_costs_only_the_configuration(tmp_path: Path) -> None:
    torch.save(official(namespace("Model(Config(a=__import__('os').system('true')))")), tmp_path / "f.pth")
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.config is None
    assert any("__import__" in note for note in read.notes)


def test_common_prefix_comes_off_only_if_all_have_it(tmp_path: Path) -> None:
    everywhere = {f"module.{name}": tensor for name, tensor in weights().items()}
    torch.save(official(namespace(), model=everywhere), tmp_path / "all.pth")
    assert_same(read_torch(tmp_path / "all.pth").model)
    partly = everywhere | {"b": torch.zeros(1)}
    torch.save(official(namespace(), model=partly), tmp_path / "partly.pth")
    assert set(read_torch(tmp_path / "partly.pth").model) == set(partly)


def test_bare_state_dict_and_lightning_form(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "bare.pth")
    assert_same(read_torch(tmp_path / "bare.pth").model)
    torch.save({"state_dict": weights()}, tmp_path / "lightning.ckpt")
    assert_same(read_torch(tmp_path / "lightning.ckpt").model)


def test_what_a_user_registered_stays_registered(tmp_path: Path) -> None:
    torch.save(official(namespace()), tmp_path / "f.pth")
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([Namespace]):
        assert_same(read_torch(tmp_path / "f.pth").model)
        assert Namespace in torch.serialization.get_safe_globals()
    assert set(torch.serialization.get_safe_globals()) == before


# What tries to run code


def with_payload(where: str, payload: Any) -> Any:
    if where == "args":
        return official(payload)
    if where == "deep in args":
        return official(Namespace(model=TEXT, a={"b": [1, (2, {"c": payload})]}))
    if where == "weights":
        return official(namespace(), model=weights() | {"c": payload})
    if where == "optimiser":
        return official(namespace(), optimizer={"state": {0: payload}})
    return payload


@pytest.mark.parametrize("where", ["args", "deep in args", "weights", "optimiser", "everything"])
@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_is_refused_and_not_run(tmp_path: Path, where: str, payload: str, zipped: bool) -> None:
    canary = tmp_path / "canary"
    content = with_payload(where, payloads(canary)[payload])
    torch.save(content, tmp_path / "f.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"tries to run code.*Nothing was run"):
        read_torch(tmp_path / "f.pth")
    assert not canary.exists()


@pytest.mark.parametrize("payload", sorted(set(PAYLOADS) - {"import", "partial"}))
def test_the_payloads_are_live(tmp_path: Path, payload: str) -> None:
    """Without this the test above could pass on duds."""
    canary = tmp_path / "canary"
    made = pickle.loads(pickle.dumps(payloads(canary)[payload]))
    if hasattr(made, "close"):
        made.close()
    assert canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_plain_pickle(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "f.pth").write_bytes(pickle.dumps({"model": payloads(canary)["os.system"]}, protocol))
    with pytest.raises(CheckpointError, match="tries to run code"):
        read_torch(tmp_path / "f.pth")
    assert not canary.exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_code_under_newer_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    torch.save(official(payloads(canary)["eval"]), tmp_path / "f.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="tries to run code"):
        read_torch(tmp_path / "f.pth")
    assert not canary.exists()


@pytest.mark.parametrize("protocol", [2, 4])  # a method is getattr(class, name), or one dotted name
def test_code_that_the_list_of_names_overlooks_is_never_run(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    overlooked = Calls(Path.touch, Calls(Path, str(canary)))
    torch.save(official(overlooked), tmp_path / "f.pth", pickle_protocol=protocol)
    if protocol == 2:
        assert_same(read_torch(tmp_path / "f.pth").model)
    else:
        with pytest.raises(CheckpointError, match="Nothing was run"):
            read_torch(tmp_path / "f.pth")
    assert not canary.exists()
    pickle.loads(pickle.dumps(overlooked, protocol))
    assert canary.exists()  # it was live


class Outer:
    """Holds a class, which old pickle protocols name with getattr."""

    class Inner:
        """Arguments of a nested class."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_arguments_of_a_nested_class(tmp_path: Path, zipped: bool) -> None:
    args = Outer.Inner()
    args.model = TEXT  # pyright: ignore[reportAttributeAccessIssue]
    torch.save(official(args), tmp_path / "f.pth", _use_new_zipfile_serialization=zipped)
    read = read_torch(tmp_path / "f.pth")
    assert_same(read.model)
    assert read.args_text == TEXT


def test_code_inside_an_omegaconf_tree(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with omegaconf_like() as build:
        torch.save(official(build({"model": TEXT, "a": {"b": payloads(canary)["exec"]}})), tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match="tries to run code"):
        read_torch(tmp_path / "f.pth")
    assert not canary.exists()


# What is damaged or something else


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.7, 0.98])
def test_truncated(tmp_path: Path, kept: float, zipped: bool) -> None:
    path = tmp_path / "f.pth"
    torch.save(official(namespace()), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match="Download it again"):
        read_torch(path)


def test_claims_more_elements_than_it_holds(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(4)}}, tmp_path / "f.pth")
    with zipfile.ZipFile(tmp_path / "f.pth") as old, zipfile.ZipFile(tmp_path / "g.pth", "w") as new:
        for name in old.namelist():
            # shape (4,) becomes (2**20,), the storage stays
            new.writestr(name, old.read(name).replace(b"K\x00K\x04\x85", b"K\x00J\x00\x00\x10\x00\x85"))
    with pytest.raises(CheckpointError, match="damaged"):
        read_torch(tmp_path / "g.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "none of the formats"),
        (b"<!DOCTYPE html><html>no such page</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git-lfs pointer"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "safetensors file"),
        (b"PK\x03\x04 and then nothing of a zip", "truncated, damaged"),
        (pickle.dumps({"model": {}}), "cannot be read|damaged"),
    ],
)
def test_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "f.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        read_torch(tmp_path / "f.pth")


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights here")
    with pytest.raises(CheckpointError, match="not written by torch"):
        read_torch(tmp_path / "f.pth")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_torch(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list"),
        ({"weights": {"a": torch.zeros(1)}}, "no `model`; its top level holds weights"),
        ({"model": {}}, "is empty"),
        ({"model": {"a": torch.zeros(1), "b": 3}}, r"holds b \(int\)"),
        (torch.nn.Linear(1, 1), "whole pickled torch.nn.modules.linear.Linear"),
    ],
)
def test_torch_files_without_a_state_dict(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match=said):
        read_torch(tmp_path / "f.pth")


def test_errors_carry_no_advice_to_switch_the_guard_off(tmp_path: Path) -> None:
    torch.save(official(namespace()), tmp_path / "f.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError) as caught:
        read_torch(tmp_path / "f.pth")
    assert "weights_only" not in str(caught.value)
    assert "\033" not in str(caught.value)
