"""Attention: what was captured is the attention of the pass itself, and what does not fit is told.

The check is from outside: softmax of captured queries with keys, times the values, is what the
attention layer of the very UNet gave on the way.
"""

from __future__ import annotations

import gc
from copy import deepcopy
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldznet_core.capture import Features, capturing
from ldznet_core.errors import InputError
from ldznet_core.training_free import LAYERS, attend, find_places, glance
from ldznet_core.training_free.places import Place, attention_of

from .small import FAMILY_OF, UNETS, WIDTH, captured, noise, run, small_unet


@pytest.mark.parametrize("name", UNETS)
@torch.no_grad()
def test_softmax_of_what_was_captured_gives_what_the_layers_gave(name: str) -> None:
    unet, layers, context = small_unet(name), LAYERS[FAMILY_OF[name]], noise(1, 77, WIDTH)
    places = find_places(unet, layers)
    given = Listener(unet, {(p.block, p.part[:5]): attention_of(unet, p, layers) for p in places})
    with capturing(unet, places) as capture:
        run(unet, noise(1, 4, 8, 16), context)
    given.stop()
    features = capture.features(100, "probe")
    attention = attend(features, unet, layers, context, [77])
    for block, link in attention.links.items():
        given.compare((block, "links"), link.queries, link.keys, given.inputs[block, "links"])
    for block, words in attention.words.items():
        given.compare((block, "words"), words.queries, words.keys[0], context[0])


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_there_is_a_row_for_each_position_of_the_halved_latents(
    name: str, size: tuple[int, int]
) -> None:
    features, unet = captured(name, size)
    layers = LAYERS[FAMILY_OF[name]]
    attention = attend(features, unet, layers, noise(3, 77, WIDTH), [3, 4, 77])
    fine = (size[0] // 2) * (size[1] // 2)
    coarse = fine if name == "ours" else fine // 4
    assert {
        feature.shape[:2]
        for place, feature in features.blocks.items()
        if place.part == "words.query"
    } == {(1, coarse)}
    assert tuple(attention.links) == layers.links
    assert set(attention.words) == {*layers.words, *layers.presence_words}
    for link in attention.links.values():
        assert link.queries.shape == link.keys.shape
        assert link.queries.shape[1] == fine
    for words in attention.words.values():
        assert words.queries.shape[1] == coarse
        assert words.keys.shape[:1] + words.keys.shape[2:3] == (3, 77)
        assert words.keys.shape[1::2] == words.queries.shape[::2]
    assert attention.counts == (1, 2, 75)


@pytest.mark.parametrize("name", UNETS)
def test_phrases_in_portions_share_what_was_read_of_the_picture(name: str) -> None:
    features, unet = captured(name)
    layers, context = LAYERS[FAMILY_OF[name]], noise(3, 77, WIDTH)
    seen = glance(features, unet, layers)
    first = attend(seen, unet, layers, context[:2], [3, 4])
    second = attend(seen, unet, layers, context[2:], [77])
    assert first.links is second.links
    together = attend(features, unet, layers, context, [3, 4, 77])
    for block, words in together.words.items():
        assert torch.equal(words.queries, first.words[block].queries)
        assert first.words[block].queries is second.words[block].queries
        keys = torch.cat([first.words[block].keys, second.words[block].keys])
        torch.testing.assert_close(keys, words.keys, atol=1e-6, rtol=0)


def test_another_phrase_for_the_last_picture_finds_its_links_made() -> None:
    features, unet = captured("ours")
    layers, context = LAYERS["miniature"], noise(2, 77, WIDTH)
    first = attend(features, unet, layers, context[:1], [3])
    again = attend(features, unet, layers, context[1:], [4])
    assert again.links is first.links
    other = attend(replace(features), unet, layers, context[:1], [3])
    assert other.links is not first.links
    assert torch.equal(other.links.on((16, 24)).matrix, first.links.on((16, 24)).matrix)


def test_links_go_with_the_features_that_they_are_of() -> None:
    features, unet = captured("ours")
    links = ref(glance(features, unet, LAYERS["miniature"]).links)
    assert links() is not None
    del features
    gc.collect()
    assert links() is None


class Lowered(nn.Linear):
    """A host's layer, whose weights are only half of what it computes with."""

    def forward(self, given: Tensor) -> Tensor:
        return F.linear(given, self.weight.to(given.dtype) + self.added.to(given.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float8_e4m3fn])
def test_what_a_host_s_layer_adds_as_it_computes_is_in_the_keys(dtype: torch.dtype) -> None:
    features, unet = captured("ours")
    unet = deepcopy(unet)
    layers, context = LAYERS["miniature"], noise(1, 77, WIDTH)
    place = Place(3, "words.query")
    plain: Any = attention_of(unet, place, layers)
    expected = attend(features, unet, layers, context, [3]).words[3].keys
    weight = plain.to_k.weight.data
    layer = Lowered(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = (weight / 2).to(dtype)
    layer.added = weight - layer.weight.data.float()
    plain.to_k = layer
    found = attend(features, unet, layers, context, [3]).words[3].keys
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0.01)


def test_it_remembers_where_it_was_read() -> None:
    features, unet = captured("ours")
    sampled = replace(features, timestep=401.0, source="sampling")
    attention = attend(sampled, unet, LAYERS["miniature"], noise(1, 77, WIDTH), [3])
    assert (attention.timestep, attention.source) == (401.0, "sampling")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_out_in_float32(dtype: torch.dtype) -> None:
    features, unet = captured("ours")
    halves = {place: feature.to(dtype) for place, feature in features.blocks.items()}
    context = noise(1, 77, WIDTH)
    attention = attend(replace(features, blocks=halves), unet, LAYERS["miniature"], context, [3])
    whole = attend(features, unet, LAYERS["miniature"], context, [3])
    for block, words in attention.words.items():
        assert words.queries.dtype == words.keys.dtype == torch.float32
        torch.testing.assert_close(words.queries, whole.words[block].queries, atol=0.05, rtol=0.01)


def test_context_follows_the_unet_into_its_dtype() -> None:
    features, unet = captured("ours")
    context = noise(1, 77, WIDTH)
    layers = LAYERS["miniature"]
    doubled = attend(features, unet, layers, context.double(), [3])
    attention = attend(features, unet, layers, context, [3])
    assert torch.equal(doubled.words[3].keys, attention.words[3].keys)


def test_a_missing_place_is_named() -> None:
    features, unet = captured("ours")
    for place in features.blocks:
        rest = {other: each for other, each in features.blocks.items() if other != place}
        expected = f"expected one row of {place.part} in block {place.block}, got none: "
        with pytest.raises(InputError, match=expected):
            attend(
                replace(features, blocks=rest),
                unet,
                LAYERS["miniature"],
                noise(1, 77, WIDTH),
                [3],
            )


@pytest.mark.parametrize("rows", [0, 2])
def test_more_than_one_picture_is_refused(rows: int) -> None:
    features, unet = captured("ours")
    blocks = {place: each.expand(1, -1, -1)[[0] * rows] for place, each in features.blocks.items()}
    with pytest.raises(InputError, match=f"block 12, got {rows} rows: "):
        attend(
            replace(features, blocks=blocks), unet, LAYERS["miniature"], noise(1, 77, WIDTH), [3]
        )


def test_features_of_a_trained_head_are_refused() -> None:
    features = Features({block: noise(1, 8, 4, 4) for block in range(6, 11)}, 400.0, "probe")
    with pytest.raises(InputError, match="capture the places of this family"):
        attend(features, small_unet("ours"), LAYERS["miniature"], noise(1, 77, WIDTH), [3])


@pytest.mark.parametrize("counts", [(2,), (3, 2), (3, 0)])
def test_a_phrase_without_a_token_is_refused(counts: tuple[int, ...]) -> None:
    features, unet = captured("ours")
    with pytest.raises(InputError, match="expected words in every phrase"):
        attend(features, unet, LAYERS["miniature"], noise(len(counts), 77, WIDTH), counts)


def test_what_was_captured_is_not_written_to() -> None:
    features, unet = captured("ours")
    before = {place: each.clone() for place, each in features.blocks.items()}
    attend(features, unet, LAYERS["miniature"], noise(1, 77, WIDTH), [3])
    assert all(torch.equal(each, features.blocks[place]) for place, each in before.items())


class Listener:
    """Keeps what attention layers were given and what they gave, in one pass."""

    def __init__(self, unet: nn.Module, layers: dict[tuple[int, str], Any]) -> None:
        self.inputs: dict[tuple[int, str], Tensor] = {}
        self.outputs: dict[tuple[int, str], Tensor] = {}
        self._layers = layers
        self._handles = [
            layer.register_forward_hook(
                lambda _module, inputs, output, key=key: self._keep(key, inputs[0], output)
            )
            for key, layer in layers.items()
        ]

    def _keep(self, key: tuple[int, str], given: Tensor, output: Tensor) -> None:
        self.inputs[key], self.outputs[key] = given[0], output[0]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def compare(self, key: tuple[int, str], queries: Tensor, keys: Tensor, answers: Tensor) -> None:
        """That softmax(q k / sqrt(d)) v, head by head, is what the layer gave."""
        layer = self._layers[key]
        values = layer.to_v(answers)
        depth = queries.shape[-1]
        parts = []
        for head in range(len(queries)):
            matrix = (queries[head] @ keys[head].T / depth**0.5).softmax(dim=-1)
            parts.append(matrix @ values[:, head * depth : (head + 1) * depth])
        out = layer.to_out[0](torch.cat(parts, dim=1))
        torch.testing.assert_close(out, self.outputs[key], atol=1e-4, rtol=0)
