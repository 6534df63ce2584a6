"""Pickled checkpoints: read tensor by tensor, and never obeyed."""

from __future__ import annotations

import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldznet_core.errors import CheckpointError
from ldznet_core.pickled import PickledTensors
from ldznet_core.screening import LARGEST_PICKLE, ForbiddenError, check_pickle

SENTENCE = r"(?s)^expected [^\n]* got [^\n]*: [^\n]*$"


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def archived(path: Path, pickled: bytes, **records: bytes) -> Path:
    """An archive as PyTorch lays it out, with a pickle and records of one's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, content in {"version": b"3\n", **records}.items():
            archive.writestr(f"a/{name}", content)
    return path


def rewritten(path: Path, **contents: bytes) -> Path:
    """The archive with other content in some of its records."""
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, contents.get(name.partition("/")[2], content))
    return path


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


class TestReading:
    def test_every_kind_of_tensor_comes_back(self, tmp_path: Path) -> None:
        base = torch.arange(12.0).reshape(3, 4)
        tensors = {
            "whole": torch.randn(5, 3),
            "half": torch.randn(7).half(),
            "brain": torch.randn(2, 2).bfloat16(),
            "count": torch.arange(77)[None],
            "flag": torch.tensor([True, False]),
            "scalar": torch.tensor(0.9999),
            "empty": torch.empty(0, 4),
            "turned": base.mT,
            "part": base[1:, 2],
            "shared": base,
            "parameter": nn.Parameter(torch.ones(3)),
        }
        read = PickledTensors(saved(tensors, tmp_path / "all.ckpt"))
        assert list(read) == list(tensors)
        assert len(read) == len(tensors)
        for name, tensor in tensors.items():
            assert torch.equal(read[name], tensor), name
            assert read[name].dtype == tensor.dtype
            assert read.shapes[name] == tuple(tensor.shape)

    def test_a_trainer_s_state_around_the_weights_is_passed_over(self, tmp_path: Path) -> None:
        content = {
            "state_dict": {"weight": torch.ones(2)},
            "epoch": 3,
            "callbacks": {"best": np.float64(0.5), "seen": np.int64(7), "done": np.bool_(True)},
            "rates": np.float32(1e-4),
            "names": {"a", "b"},
            "tensor": torch.zeros(3),
        }
        assert list(PickledTensors(saved(content, tmp_path / "trainer.ckpt"))) == ["weight"]

    def test_what_is_no_tensor_in_a_state_dict_is_passed_over(self, tmp_path: Path) -> None:
        content = {"weight": torch.ones(2), "version": 3, 5: torch.zeros(1), "none": None}
        assert list(PickledTensors(saved(content, tmp_path / "mixed.ckpt"))) == ["weight"]

    def test_a_file_that_pytorch_wrote_without_checksums_is_read(self, tmp_path: Path) -> None:
        if not hasattr(torch.serialization, "set_crc32_options"):
            pytest.skip("this PyTorch always writes checksums")
        torch.serialization.set_crc32_options(False)
        try:
            path = saved({"weight": torch.arange(5.0)}, tmp_path / "unchecked.ckpt")
        finally:
            torch.serialization.set_crc32_options(True)
        assert PickledTensors(path)["weight"].tolist() == [0, 1, 2, 3, 4]


class TestRefusals:
    def test_what_is_no_archive(self, tmp_path: Path) -> None:
        legacy, text = tmp_path / "legacy.ckpt", tmp_path / "text.ckpt"
        torch.save({"w": torch.ones(2)}, legacy, _use_new_zipfile_serialization=False)
        text.write_text("<html>Google Drive: quota exceeded</html>")
        for path in (legacy, text):
            with pytest.raises(CheckpointError, match=r"PyTorch 1\.6 or newer in .*not a zip file"):
                PickledTensors(path)

    def test_what_is_not_there(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.ckpt", tmp_path):
            with pytest.raises(CheckpointError, match="found none: check the path"):
                PickledTensors(path)

    @pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(1), 7])
    def test_what_holds_no_tensors_by_name(self, tmp_path: Path, content: object) -> None:
        with pytest.raises(CheckpointError, match=SENTENCE):
            PickledTensors(saved(content, tmp_path / "other.ckpt"))

    def test_a_pickle_with_code_is_named_and_not_run(self, tmp_path: Path) -> None:
        canary = tmp_path / "canary"
        code = b"cos\nsystem\n" + text(f'echo sung > "{canary}"') + b"\x85R"
        for place in (code, b"}" + text("state_dict") + b"}" + text("w") + code + b"ss"):
            path = archived(tmp_path / "code.ckpt", opcodes(place))
            with pytest.raises(CheckpointError, match=r"got os\.system, which might do harm"):
                PickledTensors(path)
        assert not canary.exists()
        pickle.loads(opcodes(code))  # noqa: S301 (to prove that it would sing)
        assert canary.exists()

    @pytest.mark.parametrize(
        ("name", "written"),
        [("posix.system", "posix\nsystem"), ("builtins.eval", "builtins\neval")],
    )
    def test_so_are_the_usual_suspects(self, tmp_path: Path, name: str, written: str) -> None:
        code = opcodes(b"c" + written.encode() + b"\n(X\x04\x00\x00\x00exittR")
        with pytest.raises(CheckpointError, match=f"got {name}"):
            PickledTensors(archived(tmp_path / "code.ckpt", code))

    def test_methods_that_a_pickle_has_replaced_are_not_called(self, tmp_path: Path) -> None:
        """An attribute of an ordered dictionary comes before the method of its name."""
        for method in ("items", "get", "keys"):
            state = b"}" + text(method) + b"K\x01sb"
            code = opcodes(b"ccollections\nOrderedDict\n)R", state)
            with pytest.raises(CheckpointError, match="no tensors by name"):
                PickledTensors(archived(tmp_path / "methods.ckpt", code))

    def test_a_truncated_file(self, tmp_path: Path) -> None:
        whole = saved({"w": torch.ones(1000)}, tmp_path / "whole.ckpt").read_bytes()
        part = tmp_path / "part.ckpt"
        for kept in (0, 3, 100, 2000, len(whole) - 1):
            part.write_bytes(whole[:kept])
            with pytest.raises(CheckpointError, match=SENTENCE):
                PickledTensors(part)

    def test_values_that_changed_since_they_were_written(self, tmp_path: Path) -> None:
        path = saved({"w": torch.ones(1000), "v": torch.zeros(3)}, tmp_path / "flipped.ckpt")
        content = bytearray(path.read_bytes())
        content[content.index(torch.ones(4).numpy().tobytes()) + 1] ^= 64
        path.write_bytes(content)
        read = PickledTensors(path)
        assert read["v"].tolist() == [0, 0, 0]
        with pytest.raises(CheckpointError, match="data/0 with other bytes than were written"):
            _ = read["w"]

    def test_a_file_that_shrinks_while_it_is_read(self, tmp_path: Path) -> None:
        path = saved({"w": torch.ones(1000)}, tmp_path / "shrinking.ckpt")
        read = PickledTensors(path)
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(CheckpointError, match="less than the 4000 bytes"):
            _ = read["w"]


class TestArchives:
    """Archives that PyTorch would not have written, of which some end PyTorch's own process."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return saved({"w": torch.arange(100.0)}, tmp_path / "a.ckpt")

    def test_a_compressed_record_does_not_swell(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.ckpt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + bytes(2**26))
        assert path.stat().st_size < 2**17
        with pytest.raises(CheckpointError, match=r"data\.pkl compressed, which PyTorch never"):
            PickledTensors(path)

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("name", ["a/data.pkl", "a/DATA.pkl"])
    def test_two_records_of_one_name(self, path: Path, name: str) -> None:
        """PyTorch looks for names without regard to case, and not for the last of several."""
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, opcodes(b"}"))
        with pytest.raises(CheckpointError, match="two records of one name"):
            PickledTensors(path)

    def test_a_record_of_two_sizes(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        content[entry + 24 : entry + 28] = struct.pack("<I", 2**31)
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=SENTENCE):
            PickledTensors(path)

    @pytest.mark.parametrize(
        ("record", "content", "complaint"),
        [
            ("byteorder", b"big", "byte order b'big'"),
            ("byteorder", b"", "byte order b''"),
            (".storage_alignment", b"0", "alignment of b'0'"),
            (".storage_alignment", b"-64", "alignment of b'-64'"),
            (".storage_alignment", b"9" * 30, "alignment of b'99999999'"),
        ],
    )
    def test_settings_at_which_pytorch_crashes(
        self, path: Path, record: str, content: bytes, complaint: str
    ) -> None:
        with pytest.raises(CheckpointError, match=complaint):
            PickledTensors(rewritten(path, **{record: content}))

    def test_records_without_a_pickle_or_with_several(self, path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("b/data.pkl", opcodes(b"}"))
        with pytest.raises(CheckpointError, match="2 folders with 2 pickles"):
            PickledTensors(path)


def tensor(size: bytes, stride: bytes, count: bytes, key: str = "0") -> bytes:
    """A dictionary with a float tensor over a storage of so many values."""
    kind = b"ctorch\nFloatStorage\n"
    storage = b"(" + text("storage") + kind + text(key) + text("cpu") + count + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + size + stride
    return opcodes(b"}" + text("w") + made + b"\x89ccollections\nOrderedDict\n)RtRs")


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words)) + words.encode()


def long(number: int) -> bytes:
    data = pickle.encode_long(number)
    return b"\x8a" + bytes([len(data)]) + data


class TestSizes:
    def test_the_handmade_one_is_read(self, tmp_path: Path) -> None:
        made = tensor(b"K\x02\x85", b"K\x01\x85", b"K\x02")
        path = archived(tmp_path / "a.ckpt", made, **{"data/0": torch.ones(2).numpy().tobytes()})
        assert PickledTensors(path)["w"].tolist() == [1, 1]

    @pytest.mark.parametrize("count", [3, 2**20, 2**40, 2**62, -(2**70)])
    def test_a_storage_of_another_size_than_its_record(self, tmp_path: Path, count: int) -> None:
        made = tensor(b"K\x02\x85", b"K\x01\x85", long(count))
        path = archived(tmp_path / "a.ckpt", made, **{"data/0": bytes(8)})
        with pytest.raises(CheckpointError, match=SENTENCE):
            _ = PickledTensors(path)["w"]

    @pytest.mark.parametrize("size", [3, 2**20, 2**40, 2**62, -1])
    def test_a_tensor_of_more_values_than_its_storage(self, tmp_path: Path, size: int) -> None:
        for step in (b"K\x01\x85", b"K\x00\x85"):  # a step of 0 repeats one value for ever
            made = tensor(long(size) + b"\x85", step, b"K\x02")
            path = archived(tmp_path / "a.ckpt", made, **{"data/0": bytes(8)})
            with pytest.raises(CheckpointError, match=SENTENCE):
                _ = PickledTensors(path)["w"]

    def test_a_storage_that_is_not_there(self, tmp_path: Path) -> None:
        made = tensor(b"K\x02\x85", b"K\x01\x85", b"K\x02", key="7")
        with pytest.raises(CheckpointError, match=SENTENCE):
            _ = PickledTensors(archived(tmp_path / "a.ckpt", made))["w"]


BIG_LIST = b"]q\x00(" + 20_000 * b"K\x01K\x02\x86" + b"e"
BIG_TUPLE = b"(" + 20_000 * b"K\x01" + b"tq\x00"
ORDERED = b"ccollections\nOrderedDict\nq\x01"


class TestScreening:
    """Pickles that run no code, but would fill the memory or never end."""

    @pytest.mark.parametrize(
        "body",
        [
            BIG_LIST + ORDERED + 200 * b"h\x01h\x00\x85R",
            BIG_TUPLE + b"cbuiltins\nset\nq\x01" + 200 * b"h\x01h\x00\x85R",
            BIG_LIST + ORDERED + 200 * b"h\x01)Rh\x00b",
            # containers that grow after they were packed for a call
            b"]q\x00\x85q\x02h\x00(" + 2000 * b"K\x01K\x02\x86" + b"e" + ORDERED + b"h\x01h\x02R",
            b"}K\x00" + b"q\x00h\x00\x86" * 60 + b"K\x01s",  # a key whose hash takes 2**60 steps
            b"K\x00" + b"q\x00h\x00\x86" * 60 + b"Q",
        ],
        ids=["copies", "sets", "attributes", "late growth", "hash", "storage"],
    )
    def test_more_work_than_the_length_accounts_for(self, body: bytes) -> None:
        with pytest.raises(ValueError, match=r"a pickle (that wants more work|whose calls)"):
            check_pickle(opcodes(body))

    @pytest.mark.parametrize(
        "name",
        [
            "builtins bytearray",
            "__builtin__ bytearray",
            "collections Counter",
            "torch Tensor",
            "torch FloatTensor",
            "torch load",
            "torch.storage _load_from_bytes",
            "torch._utils _rebuild_wrapper_subclass",
            "torch._tensor _rebuild_from_type_v2",
            "numpy.core.multiarray _reconstruct",
            "posix system",
        ],
    )
    def test_functions_that_checkpoints_do_without(self, name: str) -> None:
        module, _, function = name.partition(" ")
        with pytest.raises(ForbiddenError, match=f"^{module}.{function}$"):
            check_pickle(opcodes(f"c{module}\n{function}\n".encode()))

    @pytest.mark.parametrize(
        "body",
        [b"R", b"K\x01R", b"a", b"t", b"e", b"u", b"s", b"b", b"Q", b"q\x00", b"h\x05", b"\x85"],
    )
    def test_a_stack_that_runs_empty(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="a pickle"):
            check_pickle(opcodes(body))

    @pytest.mark.parametrize(
        "opcode", [b"0", b"2", b"\x93", b"\x95" + bytes(8), b"i\nx\n", b"o", b"\x96" + bytes(8)]
    )
    def test_opcodes_that_pytorch_does_not_write(self, opcode: bytes) -> None:
        with pytest.raises(ValueError, match=r"which PyTorch does not write|pickle"):
            check_pickle(opcodes(b"K\x01", opcode))

    def test_other_protocols(self) -> None:
        with pytest.raises(ValueError, match="protocol 4, where PyTorch writes 2"):
            check_pickle(pickle.dumps({"a": 1}, protocol=4))

    def test_a_long_text_to_encode(self) -> None:
        for length, is_refused in ((8, False), (100_000, True)):
            body = opcodes(b"c_codecs\nencode\n", text(length * "a"), text("punycode"), b"\x86R")
            if is_refused:
                with pytest.raises(ValueError, match="long text"):
                    check_pickle(body)
            else:
                check_pickle(body)

    def test_a_pickle_of_many_megabytes(self) -> None:
        with pytest.raises(ValueError, match="are plenty"):
            check_pickle(bytes(LARGEST_PICKLE + 1))

    def test_a_recursive_list_is_no_trouble(self, tmp_path: Path) -> None:
        path = archived(tmp_path / "a.ckpt", opcodes(b"}X\x01\x00\x00\x00w]q\x00h\x00as"))
        with pytest.raises(CheckpointError, match="no tensors by name"):
            PickledTensors(path)

    def test_every_opcode_of_a_true_checkpoint_is_known(self, tmp_path: Path) -> None:
        content = {
            "epoch": 300,
            "big": [2**40, -5, 70_000, 1e-4, None, True, False, (), (1, 2), (1, 2, 3, 4), {1: 2}],
            "state_dict": nn.Linear(2, 2).state_dict(),
            "text": "long " * 100,
        }
        path = saved(content, tmp_path / "a.ckpt")
        with zipfile.ZipFile(path) as archive:
            pickled = archive.read("a/data.pkl")
        assert {opcode.name for opcode, _, _ in pickletools.genops(pickled)} > {"REDUCE", "BUILD"}
        assert list(PickledTensors(path)) == ["weight", "bias"]


def test_tensors_of_numbers_that_are_not_whole_bytes_are_left_out(tmp_path: Path) -> None:
    sparse = torch.eye(3).to_sparse()
    content: dict[str, Tensor] = {"sparse": sparse, "whole": torch.ones(1)}
    with pytest.raises(CheckpointError, match=SENTENCE):
        PickledTensors(saved(content, tmp_path / "sparse.ckpt"))
