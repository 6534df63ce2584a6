"""From a checkpoint in the authors' layout to a head, and what is refused on the way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import ldznet_core.weights as weights_module
from ldznet_core.checkpoint import load_head, read_config
from ldznet_core.conversion import PROVENANCE_KEY, convert_checkpoint
from ldznet_core.errors import CheckpointError, InputError, LDZNetError
from ldznet_core.head import HeadConfig, LDZNetHead
from ldznet_core.unet import UNetConfig
from ldznet_core.weights import read_metadata, read_weights

from .official.checkpoint import GROUPS, SMALL, official_state, random_weights, save_checkpoint
from .official.layout import averaged_name, text_shapes, unet_shapes, vae_shapes

ROOT = Path(__file__).parents[2]
NAMES = list(unet_shapes(is_head=True))
RAW = "model.diffusion_model."


def averages(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: state[averaged_name(name)] for name in NAMES}


def last_step(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: state[RAW + name] for name in NAMES}


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def reduced() -> dict[str, Tensor]:
    """All groups, with model_channels 32 and context 64."""
    return official_state(32, 64)


@pytest.fixture(scope="module")
def reduced_checkpoint(
    reduced: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("official") / "LDZNet_txt2mask.ckpt"
    yield save_checkpoint(reduced, path)
    path.unlink()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """All groups, at the smallest sizes; tests take copies."""
    return official_state(**SMALL)


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(state, tmp_path_factory.mktemp("small") / "small.ckpt")


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Tensor]], Path]:
    """Saves a state dict."""
    return lambda changed: save_checkpoint(changed, tmp_path / "changed.ckpt")


@pytest.fixture(scope="module")
def averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of nothing but the moving averages."""
    return {name: tensor for name, tensor in state.items() if name.startswith("model_ema.")}


class TestLayout:
    """The layout that these tests write is the published one, and so are our names and shapes."""

    def test_it_has_the_published_numbers_of_tensors_and_weights(self) -> None:
        def count(shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
            return len(shapes), sum(map(prod, shapes.values()))

        assert count(unet_shapes(is_head=True)) == (760, 925_882_936)
        assert count(unet_shapes(is_head=False)) == (686, 859_520_964)
        assert count(vae_shapes()) == (248, 83_653_863)
        assert len(text_shapes()) == 197

    def test_a_whole_checkpoint_has_2677_entries(self, reduced: dict[str, Tensor]) -> None:
        assert len(reduced) == 2677
        added = set(unet_shapes(is_head=True)) - set(unet_shapes(is_head=False))
        assert len(added) == 74

    def test_our_head_has_its_names_and_shapes_at_full_size(self) -> None:
        with torch.device("meta"):
            head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1)))
        ours = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
        assert ours == unet_shapes(is_head=True)

    def test_averages_have_lost_their_dots(self) -> None:
        name = "input_blocks.8.1.transformer_blocks.0.attn3.to_q.weight"
        expected = "model_ema.diffusion_modelinput_blocks81transformer_blocks0attn3to_qweight"
        assert averaged_name(name) == expected
        assert len({averaged_name(name) for name in NAMES}) == 760


class TestWhatIsKept:
    def test_the_averages_by_default(
        self, reduced_checkpoint: Path, reduced: dict[str, Tensor], tmp_path: Path
    ) -> None:
        done = convert_checkpoint(reduced_checkpoint, tmp_path / "head", dtype=torch.float32)
        assert (done.weights, done.notice, done.kept) == ("ema", "", 760)
        assert_equal(read_weights(done.file)[0], averages(reduced))

    def test_the_last_step_on_wish(
        self, reduced_checkpoint: Path, reduced: dict[str, Tensor], tmp_path: Path
    ) -> None:
        done = convert_checkpoint(
            reduced_checkpoint, tmp_path / "head", weights="raw", dtype=torch.float32
        )
        assert (done.weights, done.notice) == ("raw", "")
        assert_equal(read_weights(done.file)[0], last_step(reduced))

    def test_the_last_step_with_a_sentence_where_there_are_no_averages(
        self, save: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        raw = {name: tensor for name, tensor in state.items() if name.startswith(RAW)}
        done = convert_checkpoint(save(raw), tmp_path / "head", dtype=torch.float32)
        assert done.weights == "raw"
        assert done.notice == "changed.ckpt has no EMA weights, so the raw ones were taken"
        assert_equal(read_weights(done.file)[0], last_step(state))

    def test_the_counters_of_averages_alone_are_no_averages(
        self, save: Callable[..., Path], state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        kept = ("model_ema.decay", "model_ema.num_updates", RAW)
        raw = {name: tensor for name, tensor in state.items() if name.startswith(kept)}
        assert "diffusion_model" not in "".join(name for name in raw if name.startswith(kept[:2]))
        assert convert_checkpoint(save(raw), tmp_path / "head").weights == "raw"

    def test_averages_without_a_last_step(
        self, save: Callable[..., Path], averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        path = save(averaged)
        done = convert_checkpoint(path, tmp_path / "head")
        assert (done.weights, done.notice) == ("ema", "")
        assert done.dropped == {"schedule and counters": 2}
        with pytest.raises(CheckpointError, match="it has EMA weights: ask for those"):
            convert_checkpoint(path, tmp_path / "raw", weights="raw")

    @pytest.mark.parametrize(
        ("groups", "text_prefix"),
        [
            (("raw", "ema", "frozen"), ""),
            (("schedule", "raw", "ema"), ""),
            (("ema", "vae", "text"), ""),
            (("ema", "vae", "text"), "text_model."),
            (GROUPS, ""),
            (GROUPS, "text_model."),
        ],
        ids=lambda value: value if isinstance(value, str) else "+".join(value),
    )
    def test_whatever_else_is_there_is_left_behind(
        self,
        save: Callable[..., Path],
        groups: tuple[str, ...],
        text_prefix: str,
        tmp_path: Path,
    ) -> None:
        changed = official_state(
            groups=groups, text_prefix=text_prefix, has_position_ids=bool(text_prefix), **SMALL
        )
        done = convert_checkpoint(save(changed), tmp_path / "head", dtype=torch.float32)
        assert_equal(read_weights(done.file)[0], averages(changed))
        counts = {
            "raw": 760 if "raw" in groups else 0,
            "VAE": 248 if "vae" in groups else 0,
            "CLIP": (196 + bool(text_prefix)) if "text" in groups else 0,
            "frozen Stable Diffusion": 698 if "frozen" in groups else 0,
            "schedule and counters": (12 if "schedule" in groups else 0) + 2,
        }
        assert done.dropped == {what: count for what, count in counts.items() if count}

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_in_the_dtype_of_choice(
        self, checkpoint: Path, state: dict[str, Tensor], dtype: torch.dtype, tmp_path: Path
    ) -> None:
        file = convert_checkpoint(checkpoint, tmp_path / "head", dtype=dtype).file
        rounded = {name: tensor.to(dtype) for name, tensor in averages(state).items()}
        assert_equal(read_weights(file)[0], rounded)

    def test_in_half_precision_if_nothing_is_said(self, checkpoint: Path, tmp_path: Path) -> None:
        file = convert_checkpoint(checkpoint, tmp_path / "head").file
        assert {tensor.dtype for tensor in read_weights(file)[0].values()} == {torch.float16}

    @pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
    def test_whatever_the_source_stores(
        self,
        save: Callable[..., Path],
        averaged: dict[str, Tensor],
        stored: torch.dtype,
        tmp_path: Path,
    ) -> None:
        changed = {name: tensor.to(stored) for name, tensor in averaged.items()}
        done = convert_checkpoint(save(changed), tmp_path / "head", dtype=torch.float32)
        expected = {name: tensor.float() for name, tensor in averages(changed).items()}
        assert_equal(read_weights(done.file)[0], expected)

    def test_from_safetensors_too(
        self, averaged: dict[str, Tensor], save: Callable[..., Path], tmp_path: Path
    ) -> None:
        save_file(averaged, tmp_path / "source.safetensors")
        ours = convert_checkpoint(tmp_path / "source.safetensors", tmp_path / "one").file
        theirs = convert_checkpoint(save(averaged), tmp_path / "two").file
        assert_equal(read_weights(ours)[0], read_weights(theirs)[0])

    def test_from_a_state_dict_without_a_trainer_s_state(
        self, averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        torch.save(averaged, tmp_path / "bare.ckpt")
        assert convert_checkpoint(tmp_path / "bare.ckpt", tmp_path / "head").kept == 760

    @pytest.mark.parametrize(
        ("width", "context", "multiples", "scale"),
        [(32, 64, (1, 2, 4, 4), 1), (64, 16, (1, 2, 1, 1), 3), (32, 8, (1, 3, 2, 2), 6)],
    )
    def test_sizes_are_inferred(
        self,
        save: Callable[..., Path],
        width: int,
        context: int,
        multiples: tuple[int, int, int, int],
        scale: int,
        tmp_path: Path,
    ) -> None:
        shapes = unet_shapes(width, context, is_head=True, multiples=multiples, table_scale=scale)
        raw = random_weights(shapes, torch.Generator().manual_seed(0), RAW)
        config = convert_checkpoint(save(raw), tmp_path / "head").config
        assert config.unet == UNetConfig(
            out_channels=1,
            model_channels=width,
            channel_mult=multiples,
            context_dim=context,
            num_heads=8,
        )
        assert config.image_side == 384 // scale
        load_head(tmp_path / "head")


class TestTheFile:
    def test_it_loads_as_a_head_for_stable_diffusion(
        self, reduced_checkpoint: Path, reduced: dict[str, Tensor], tmp_path: Path
    ) -> None:
        done = convert_checkpoint(reduced_checkpoint, tmp_path / "head", dtype=torch.float32)
        head = load_head(done.file)
        assert_equal(head.state_dict(), averages(reduced))
        assert head.config == done.config == read_config(done.file)
        config = head.config
        assert (config.family, config.image_side, config.timestep) == ("sd1", 384, 400.0)
        assert (config.template, config.mask_threshold) == ("a photo of a {}.", 0.5)
        assert config.positional_tables == "shape"

    def test_the_positional_quirk_is_an_option(self, checkpoint: Path, tmp_path: Path) -> None:
        done = convert_checkpoint(checkpoint, tmp_path / "head", positional_tables="count")
        assert load_head(done.file).config.positional_tables == "count"

    def test_it_is_one_safetensors_file_of_the_kept_weights(
        self, checkpoint: Path, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        done = convert_checkpoint(checkpoint, tmp_path / "new" / "head.safetensors")
        assert list((tmp_path / "new").iterdir()) == [done.file]
        values = sum(tensor.numel() for tensor in averages(state).values())
        assert 2 * values < done.file.stat().st_size < 2 * values + 2**18

    def test_it_tells_its_source_and_what_was_kept_and_dropped(
        self, reduced_checkpoint: Path, tmp_path: Path
    ) -> None:
        done = convert_checkpoint(reduced_checkpoint, tmp_path / "head")
        digest = hashlib.sha256(reduced_checkpoint.read_bytes()).hexdigest()
        assert done.source_sha256 == digest
        assert json.loads(read_metadata(done.file)[PROVENANCE_KEY]) == {
            "source": "LDZNet_txt2mask.ckpt",
            "source_sha256": digest,
            "kept": {"ema": 760},
            "dropped": {
                "raw": 760,
                "VAE": 248,
                "CLIP": 197,
                "frozen Stable Diffusion": 698,
                "schedule and counters": 14,
            },
        }
        assert digest in done.config.training
        assert "ema weights of LDZNet_txt2mask.ckpt" in done.config.training

    def test_the_same_source_makes_the_same_bytes(self, checkpoint: Path, tmp_path: Path) -> None:
        one, two = (convert_checkpoint(checkpoint, tmp_path / name).file for name in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()

    def test_progress_is_told_to_the_last_byte(self, checkpoint: Path, tmp_path: Path) -> None:
        told: list[tuple[str, int, int]] = []
        convert_checkpoint(
            checkpoint, tmp_path / "head", on_progress=lambda *facts: told.append(facts)
        )
        assert ("tensors", 760, 760) in told
        assert told[-1] == ("digest", checkpoint.stat().st_size, checkpoint.stat().st_size)


class TestKeys:
    """What is missing or surplus is listed, by the names that the checkpoint has."""

    @pytest.mark.parametrize("weights", ["ema", "raw"])
    def test_missing_ones(
        self, save: Callable[..., Path], state: dict[str, Tensor], weights: str, tmp_path: Path
    ) -> None:
        changed = dict(state)
        lost = [
            averaged_name(name) if weights == "ema" else RAW + name
            for name in ("out.2.bias", "middle_block.1.attentionpool2D.positional_embedding")
        ]
        for name in lost:
            del changed[name]
        listed = rf"2 missing \({', '.join(sorted(lost))}\): convert".replace(".", r"\.")
        with pytest.raises(CheckpointError, match=listed):
            convert_checkpoint(save(changed), tmp_path / "head", weights=weights)
        assert list(tmp_path.iterdir()) == [tmp_path / "changed.ckpt"]

    @pytest.mark.parametrize(
        "name",
        [
            "model_ema.diffusion_modeloutput_blocks30in_layers9weight",
            "model.diffusion_model.label_emb.0.0.weight",
            "control_model.input_blocks.0.0.weight",
            "model.other",
        ],
    )
    def test_surplus_ones_of_every_group_and_of_none(
        self, save: Callable[..., Path], state: dict[str, Tensor], name: str, tmp_path: Path
    ) -> None:
        path = save({**state, name: torch.zeros(1)})
        weights = "raw" if name.startswith(RAW) else "ema"
        with pytest.raises(CheckpointError, match=rf"got 1 surplus \({name}\): convert"):
            convert_checkpoint(path, tmp_path / "head", weights=weights)

    def test_missing_and_surplus_ones_at_once(
        self, save: Callable[..., Path], averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        changed = dict(averaged)
        changed["model_ema.diffusion_modelout2biases"] = changed.pop(averaged_name("out.2.bias"))
        expected = (
            r"1 missing \(model_ema\.diffusion_modelout2bias\); "
            r"1 surplus \(model_ema\.diffusion_modelout2biases\)"
        )
        with pytest.raises(CheckpointError, match=expected):
            convert_checkpoint(save(changed), tmp_path / "head")

    def test_a_long_list_ends_in_a_number(
        self, save: Callable[..., Path], averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        kept = {name: averaged[name] for name in list(averaged)[:500]}
        with pytest.raises(CheckpointError, match=r"262 missing \((\S+, ){40}and 222 more\)"):
            convert_checkpoint(save(kept), tmp_path / "head")

    @pytest.mark.parametrize("prefix", [RAW, "model_ema."])
    def test_a_plain_stable_diffusion_lacks_what_ldznet_adds(
        self, save: Callable[..., Path], prefix: str, tmp_path: Path
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        shapes = unet_shapes(32, 8, is_head=False, multiples=(1, 2, 1, 1))
        plain = random_weights(shapes, generator)
        named = {
            averaged_name(name) if prefix == "model_ema." else RAW + name: tensor
            for name, tensor in plain.items()
        }
        named |= random_weights(vae_shapes(8), generator, "first_stage_model.")
        with pytest.raises(CheckpointError, match=r"got 74 missing \(model.*attentionpool2D"):
            convert_checkpoint(save(named), tmp_path / "head")

    def test_a_checkpoint_of_something_else(
        self, save: Callable[..., Path], tmp_path: Path
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        vae = random_weights(vae_shapes(8), generator, "first_stage_model.")
        with pytest.raises(CheckpointError, match="expected the ema weights of LD-ZNet"):
            convert_checkpoint(save(vae), tmp_path / "head")
        with pytest.raises(CheckpointError, match="248 surplus"):
            convert_checkpoint(save(random_weights(vae_shapes(8), generator)), tmp_path / "head")


class TestValues:
    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("input_blocks.0.0.weight", (32,)),
            ("input_blocks.0.0.weight", (0, 4, 3, 3)),
            ("input_blocks.0.0.weight", (33, 4, 3, 3)),
            ("out.2.weight", (4, 32, 3, 3)),
            ("out.2.weight", ()),
            ("middle_block.1.proj_in.weight", (32, 32)),
            ("middle_block.1.transformer_blocks.0.attn2.to_k.weight", (32,)),
            ("input_blocks.8.1.attentionpool2D.positional_embedding", (32, 16)),
            ("input_blocks.8.1.attentionpool2D.positional_embedding", (32, 1)),
            ("input_blocks.8.1.attentionpool2D.positional_embedding", (32, 0)),
            ("input_blocks.8.1.attentionpool2D.positional_embedding", (32,)),
            ("output_blocks.11.0.out_layers.3.weight", (32, 32, 3)),
            ("input_blocks.1.0.out_layers.3.weight", (64, 32, 3, 3)),
            ("final.0.weight", (1, 2, 3, 3)),
        ],
    )
    def test_shapes_of_no_such_network(
        self,
        save: Callable[..., Path],
        averaged: dict[str, Tensor],
        name: str,
        shape: tuple[int, ...],
        tmp_path: Path,
    ) -> None:
        changed = {**averaged, averaged_name(name): torch.zeros(shape)}
        with pytest.raises(LDZNetError, match=r"^expected .*: [^:]+$"):
            convert_checkpoint(save(changed), tmp_path / "head")
        assert list(tmp_path.glob("head*")) == []

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    def test_numbers_that_are_none(
        self,
        save: Callable[..., Path],
        averaged: dict[str, Tensor],
        value: float,
        dtype: torch.dtype,
        tmp_path: Path,
    ) -> None:
        damaged = averaged[averaged_name("final.4.weight")].clone()
        damaged[0, 0, 1, 1] = value
        path = save({**averaged, averaged_name("final.4.weight"): damaged})
        with pytest.raises(CheckpointError, match=r"NaN or infinity in final\.4\.weight"):
            convert_checkpoint(path, tmp_path / "head", dtype=dtype)

    def test_numbers_too_large_for_half_precision_ask_for_float32(
        self, save: Callable[..., Path], averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        large = averaged[averaged_name("out.0.weight")].clone()
        large[5] = 70_000
        path = save({**averaged, averaged_name("out.0.weight"): large})
        with pytest.raises(CheckpointError, match=r"finite .* in out\.0\.weight: .*float32"):
            convert_checkpoint(path, tmp_path / "head", dtype=torch.float16)
        for dtype in (torch.float32, torch.bfloat16):
            done = convert_checkpoint(path, tmp_path / "head", dtype=dtype)
            stored = read_weights(done.file)[0]["out.0.weight"][5]
            assert stored == torch.tensor(70_000).to(dtype)

    def test_whole_numbers_are_no_weights(
        self, save: Callable[..., Path], averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        name = averaged_name("out.0.weight")
        path = save({**averaged, name: torch.ones(32, dtype=torch.int8)})
        with pytest.raises(CheckpointError, match=r"got torch\.int8 in out\.0\.weight"):
            convert_checkpoint(path, tmp_path / "head")

    def test_one_storage_under_every_name_does_not_swell(
        self, averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        """Each tensor alone is in order: so a small file could ask for a large head."""
        block = torch.zeros(max(tensor.numel() for tensor in averaged.values()))
        swollen = {
            name: block[: tensor.numel()].view(tensor.shape) for name, tensor in averaged.items()
        }
        torch.save(swollen, tmp_path / "small.ckpt")
        with pytest.raises(CheckpointError, match=r"values of an LD-ZNet .*, got a file of"):
            convert_checkpoint(tmp_path / "small.ckpt", tmp_path / "head")


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "value"),
        [("weights", "EMA"), ("dtype", torch.int8), ("positional_tables", "both")],
    )
    def test_unknown_values_are_refused(
        self, checkpoint: Path, option: str, value: object, tmp_path: Path
    ) -> None:
        with pytest.raises((InputError, CheckpointError), match="expect"):
            convert_checkpoint(checkpoint, tmp_path / "head", **{option: value})  # type: ignore[arg-type]  # wrong on purpose
        assert list(tmp_path.iterdir()) == []

    def test_the_source_is_not_written_over(
        self, averaged: dict[str, Tensor], tmp_path: Path
    ) -> None:
        source = tmp_path / "same.safetensors"
        save_file(averaged, source)
        before = source.read_bytes()
        for target in (source, tmp_path / "same", tmp_path / "." / "same.safetensors"):
            with pytest.raises(InputError, match="another file than"):
                convert_checkpoint(source, target)
        assert source.read_bytes() == before

    def test_a_folder_that_cannot_be_written_to(self, checkpoint: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(CheckpointError, match="expected to write"):
            convert_checkpoint(checkpoint, tmp_path / "file" / "head")


class TestInterrupts:
    """Whenever it stops, what was at the target stays, and nothing half-written is left."""

    @pytest.fixture
    def former(self, checkpoint: Path, tmp_path: Path) -> bytes:
        return convert_checkpoint(checkpoint, tmp_path / "head", weights="raw").file.read_bytes()

    @pytest.mark.parametrize("part", ["tensors", "digest"])
    def test_while_it_reads(
        self, checkpoint: Path, former: bytes, part: str, tmp_path: Path
    ) -> None:
        def interrupt(doing: str, done: int, size: int) -> None:
            if doing == part and done > size // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert_checkpoint(checkpoint, tmp_path / "head", on_progress=interrupt)
        assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
        assert (tmp_path / "head.safetensors").read_bytes() == former

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
    def test_while_it_writes(
        self,
        checkpoint: Path,
        former: bytes,
        error: BaseException | type[BaseException],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        seen: list[list[str]] = []
        true = weights_module._bytes_of

        def interrupt(tensor: Tensor) -> memoryview:
            names = sorted(path.name for path in tmp_path.iterdir())
            if len(names) == 2 and (tmp_path / names[0]).stat().st_size > 2**20:
                seen.append(names)
                raise error
            return true(tensor)

        monkeypatch.setattr(weights_module, "_bytes_of", interrupt)
        with pytest.raises((KeyboardInterrupt, CheckpointError)):
            convert_checkpoint(checkpoint, tmp_path / "head")
        assert len(seen) == 1  # in the midst of the file's writing
        assert [path.name for path in tmp_path.iterdir()] == ["head.safetensors"]
        assert (tmp_path / "head.safetensors").read_bytes() == former


MEASURED = """
import re, sys
from pathlib import Path
from ldznet_core.conversion import convert_checkpoint
import torch

def peak():  # of this process alone; what `resource` tells begins with its parent's
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.ones(2).to(torch.float16).isfinite().all()
before = peak()
convert_checkpoint(sys.argv[1], sys.argv[2], dtype=torch.float32)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_what_is_left_behind_costs_no_memory(
    averaged: dict[str, Tensor], form: str, tmp_path: Path
) -> None:
    """400 MB of other networks beside 8 MB of head: no more than 200 MB in all."""
    kept = sum(tensor.nbytes for tensor in averaged.values())
    others = {
        f"{prefix}{number}": torch.zeros(2**24)
        for number in range(2)
        for prefix in ("first_stage_model.", "sd_features_stage_model.model.", "cond_stage_model.")
    }
    source = tmp_path / f"large.{form}"
    if form == "ckpt":
        save_checkpoint({**averaged, **others}, source)
    else:
        save_file({**averaged, **others}, source)
    try:
        measured = subprocess.run(
            [sys.executable, "-c", MEASURED, str(source), str(tmp_path / "head")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        source.unlink()
    assert int(measured.stdout) <= kept + 200_000_000
