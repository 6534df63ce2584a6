"""Write the example workflows anew, asking a running ComfyUI for the order of its widgets.

Start a ComfyUI that has the pack, and give its address:

    python tools/build_workflows.py --url http://127.0.0.1:8188

Files' names become titles in the template browser. The pictures of the same names come from
``tools/picture_workflows.py``.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_sheet import Column, Node, ObjectInfo, Sheet, Wire

FOLDER = Path(__file__).resolve().parent.parent / "example_workflows"
BLUE, GREEN, CYAN, RED = "#88A", "#8A8", "#8AA", "#A88"
NOTE_HEIGHT, PROMPT_HEIGHT, SEGMENT_HEIGHT = 310, 100, 760
PREVIEW_HEIGHT, MASKS_HEIGHT = 256, 370
LOAD_WIDTH, WORDS_WIDTH, SAMPLER_WIDTH, SEGMENT_WIDTH, PICTURE_WIDTH = 300, 260, 290, 340, 300

PHRASES = ("red car", "sky", "grass", "owl")
"""Of a red car in a meadow; there is no owl."""

SD1_CHECKPOINT = "v1-5-pruned-emaonly.safetensors"
SD1_SOURCE = "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
HEAD = "auto"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write every workflow."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="a running ComfyUI")
    options = parser.parse_args(arguments)
    with urllib.request.urlopen(options.url + "/object_info") as answer:  # noqa: S310 (user's own)
        info: ObjectInfo = json.load(answer)
    FOLDER.mkdir(exist_ok=True)
    for name, build in WORKFLOWS.items():
        sheet = Sheet(info)
        build(sheet)
        text = json.dumps(sheet.workflow(scale=0.6), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(sheet.nodes)} nodes")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the loaders give."""

    model: Wire
    clip: Wire
    vae: Wire
    head: Wire


@dataclass(frozen=True, slots=True)
class Painted:
    """What a first picture leaves for the nodes after it."""

    model: Wire
    """The model that is listened to."""
    positive: Wire
    negative: Wire
    latent: Wire
    picture: Wire


@dataclass(frozen=True, slots=True)
class Sampler:
    """How pictures of a model are sampled."""

    side: int
    negative: str
    values: Mapping[str, Any]


# Samplers that renew the noise keep the miniature's pictures free of speckle.
MINIATURE = Sampler(
    128, "", {"steps": 20, "cfg": 5.0, "sampler_name": "dpmpp_2m_sde", "scheduler": "karras"}
)
SD1 = Sampler(
    512,
    "blurry, low quality, text",
    {"steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"},
)


def masks_and_inpaint(sheet: Sheet) -> None:
    """A picture, masks of what is in it, and one of the things replaced by another."""
    loaded = load_miniature(
        sheet,
        "## Masks by name, then an inpaint\n\n"
        "Press **Run**: a picture is painted (2), things in it are masked by their names (3), and "
        "one of them is replaced (4).\n\n"
        "Then change a phrase and run again: only the masks are made anew. A phrase for something "
        "that is not there, such as *owl*, gives an empty mask.\n\n"
        "The miniature is a toy model that comes with LD-ZNet. It paints cars, apples, bananas, "
        "owls, turtles, balloons and the like, in a meadow, on a beach, in a snowy field.",
    )
    paint_ask_replace(
        sheet,
        loaded,
        MINIATURE,
        prompts=("a red car in a meadow", "a hamburger in a meadow"),
        seeds=(23, 101),
        edges={"grow": 8, "feather": 6},
    )


def masks_and_inpaint_sd1(sheet: Sheet) -> None:
    """The same with a checkpoint of Stable Diffusion 1.x."""
    loaded = load_sd1(
        sheet,
        "## Masks by name, then an inpaint\n\n"
        "The first example with a checkpoint of **Stable Diffusion 1.x** of yours: choose it, "
        "press **Run**. A checkpoint of SD 2.x or SDXL will do, too, at its own size.\n\n"
        "The head is *auto*: if there is one for SD 1.x in `models/ldznet` (LD-ZNet's README says "
        "how to get one), it makes the masks; if not, they are read off the checkpoint's own "
        "attention, which needs no further file.",
    )
    paint_ask_replace(
        sheet,
        loaded,
        SD1,
        prompts=(
            "photo of a red car parked in a green meadow, blue sky, soft daylight",
            "photo of a haystack in a green meadow, blue sky, soft daylight",
        ),
        seeds=(7, 11),
        edges={"grow": 24, "feather": 16},
    )


def loaded_picture(sheet: Sheet) -> None:
    """Masks of a picture from a file."""
    loaded = load_miniature(
        sheet,
        "## Masks in a picture of yours\n\n"
        "Press **Run**: sky and grass of the loaded picture are masked and made transparent, so "
        "that all the rest is left. To keep what you named instead, put *InvertMask* before *Join "
        "Image with Alpha*.\n\n"
        "The head is *miniature*, the paper's: it copes better than *auto* with pictures that the "
        "miniature did not paint.\n\n"
        "The picture is ComfyUI's own `example.png`; drop another onto *Your picture*.\n\n"
        "The miniature understands simple, drawn pictures at best. For photographs load a "
        "checkpoint of SD 1.x, as in the second example.",
        head_name="miniature",
    )
    phrases = ("sky", "grass", "red car")
    (given,) = sheet.columns(PICTURE_WIDTH)
    image = given.add("LoadImage", 420, title="Your picture", image="example.png")
    sheet.group("2 · A picture", [given], GREEN)
    asking, masks = sheet.columns(SEGMENT_WIDTH, PICTURE_WIDTH)
    segment = asking.add(
        "LDZNetSegmentImage",
        SEGMENT_HEIGHT,
        wires={
            "head": loaded.head,
            "model": loaded.model,
            "clip": loaded.clip,
            "vae": loaded.vae,
            "image": image["IMAGE"],
        },
        phrases=lines(phrases),
        threshold=0.35,
    )
    show_masks(masks, segment, phrases)
    sheet.group("3 · Masks by name", [asking, masks], CYAN)
    (rest,) = sheet.columns(PICTURE_WIDTH)
    cut = rest.add(
        "JoinImageWithAlpha",
        46,
        title="Make what was named transparent",
        wires={"image": image["IMAGE"], "alpha": segment["mask"]},
    )
    rest.add("PreviewImage", PREVIEW_HEIGHT, title="All the rest", wires={"images": cut["IMAGE"]})
    sheet.group("4 · Cut out", [rest], RED)


def phrases_and_negatives(sheet: Sheet) -> None:
    """Several phrases, without and with something taken out of their masks."""
    loaded = load_miniature(
        sheet,
        "## Several phrases, and negatives\n\n"
        "Each line of *phrases* gets a mask of its own. What *negative_phrases* name is taken out "
        "of every mask.\n\n"
        "Press **Run**. Asked for the *apple*, both apples are marked (3). With *red apple* as a "
        "negative phrase, the green one is left (4).\n\n"
        "The text under each node says what was found, how surely, and where the features came "
        "from; it is an output, too, like the scores.",
    )
    phrases = ("apple", "sky", "grass", "owl")
    painted = paint(sheet, loaded, MINIATURE, "a red apple left of a green apple in a meadow", 3)
    for title, negatives in (("3 · Several phrases", ""), ("4 · Less a negative", "red apple")):
        asking, masks = sheet.columns(SEGMENT_WIDTH, PICTURE_WIDTH)
        segment = ask(
            asking,
            loaded,
            painted,
            phrases=lines(phrases),
            negative_phrases=negatives,
        )
        show_masks(masks, segment, phrases)
        sheet.group(title, [asking, masks], CYAN)


def two_passes(sheet: Sheet) -> None:
    """Two samplers on one model, the second at a larger size, and masks for each."""
    loaded = load_miniature(
        sheet,
        "## Two passes, masks for each\n\n"
        "Press **Run**: the picture is painted at 128 x 128 (2), made larger, and painted over at "
        "192 x 192 (4).\n\n"
        "One *LD-ZNet Capture* serves both samplers: each *LD-ZNet Segment* finds what was "
        "captured for its own latent, whatever ran since.\n\n"
        "If you lower *denoise* very far, the second sampler passes by too little for the masks. "
        "They then cost one extra pass, and the text under the node says so.",
    )
    first = paint(sheet, loaded, MINIATURE, "a red car in a meadow", 23)
    (asking,) = sheet.columns(SEGMENT_WIDTH)
    ask(asking, loaded, first, phrases=lines(PHRASES))
    sheet.group("3 · Masks of the first pass", [asking], CYAN)
    sheet.next_row()
    sampling, picture = sheet.columns(SAMPLER_WIDTH, WORDS_WIDTH)
    larger = sampling.add(
        "LatentUpscaleBy",
        82,
        wires={"samples": first.latent},
        upscale_method="bicubic",
        scale_by=1.5,
    )
    second = sample(sampling, MINIATURE, first, larger["LATENT"], seed=23, denoise=0.6)
    decoded = decode(sampling, loaded, second)
    picture.add("PreviewImage", 340, title="The larger picture", wires={"images": decoded})
    sheet.group("4 · A second, larger pass", [sampling, picture], GREEN)
    (asking,) = sheet.columns(SEGMENT_WIDTH)
    ask(asking, loaded, replace(first, latent=second), phrases=lines(PHRASES))
    sheet.group("5 · Masks of the second pass", [asking], CYAN)


def pieces_and_prompt(sheet: Sheet) -> None:
    """A mask split into its pieces, and the map of the whole prompt."""
    loaded = load_miniature(
        sheet,
        "## Which one, and what the prompt was about\n\n"
        "Press **Run**. *apple* marks both apples; *LD-ZNet Split Mask* makes a mask of each (3), "
        "from left to right. Raise *least_area* to drop crumbs.\n\n"
        "*LD-ZNet Prompt Mask* shows all that the prompt was about (4). It needs no phrase and no "
        "head, but a CFG above 1.",
    )
    painted = paint(sheet, loaded, MINIATURE, "a red apple left of a green apple in a meadow", 3)
    asking, masks = sheet.columns(SEGMENT_WIDTH, PICTURE_WIDTH)
    segment = ask(asking, loaded, painted, phrases="apple")
    split = masks.add("LDZNetSplitMask", 150, wires={"mask": segment["mask"]})
    show_masks(masks, split, ["left", "right"])
    sheet.group("3 · Each apple by itself", [asking, masks], CYAN)
    (about,) = sheet.columns(PICTURE_WIDTH)
    about.add("LDZNetPromptMask", PREVIEW_HEIGHT + 150, wires={"samples": painted.latent})
    sheet.group("4 · The whole prompt", [about], CYAN)


WORKFLOWS: dict[str, Callable[[Sheet], None]] = {
    "1 Masks and inpaint (miniature)": masks_and_inpaint,
    "2 Masks and inpaint (SD 1)": masks_and_inpaint_sd1,
    "3 Masks in a loaded picture": loaded_picture,
    "4 Several phrases and negatives": phrases_and_negatives,
    "5 Two passes, masks for each": two_passes,
    "6 Pieces of a mask, and the prompt": pieces_and_prompt,
}


def load_miniature(sheet: Sheet, note: str, head_name: str = HEAD) -> Loaded:
    """The group with the note, the miniature and one of its heads."""
    (column,) = sheet.columns(LOAD_WIDTH)
    column.note(NOTE_HEIGHT, note)
    model = column.add("LDZNetLoadMiniature", 66)
    head = column.add("LDZNetLoadHead", 58, head_name=head_name)
    sheet.group("1 · Load", [column], BLUE)
    return Loaded(model["model"], model["clip"], model["vae"], head["head"])


def load_sd1(sheet: Sheet, note: str) -> Loaded:
    """The group with the note, a checkpoint of SD 1.x and its head."""
    (column,) = sheet.columns(LOAD_WIDTH)
    column.note(NOTE_HEIGHT, note)
    source = {"name": SD1_CHECKPOINT, "url": SD1_SOURCE + SD1_CHECKPOINT}
    model = column.add(
        "CheckpointLoaderSimple",
        98,
        models=[source | {"directory": "checkpoints"}],
        ckpt_name=SD1_CHECKPOINT,
    )
    head = column.add("LDZNetLoadHead", 58, head_name=HEAD)
    sheet.group("1 · Load", [column], BLUE)
    return Loaded(model["MODEL"], model["CLIP"], model["VAE"], head["head"])


def paint_ask_replace(
    sheet: Sheet,
    loaded: Loaded,
    sampler: Sampler,
    *,
    prompts: tuple[str, str],
    seeds: tuple[int, int],
    edges: Mapping[str, int],
) -> None:
    """A red car, the masks of its picture, and something else in its place."""
    painted = paint(sheet, loaded, sampler, prompts[0], seeds[0])
    asking, masks = sheet.columns(SEGMENT_WIDTH, PICTURE_WIDTH)
    segment = ask(asking, loaded, painted, phrases=lines(PHRASES))
    show_masks(masks, segment, PHRASES)
    sheet.group("3 · Masks by name", [asking, masks], CYAN)
    sheet.next_row()
    asking, sampling, joining = sheet.columns(SEGMENT_WIDTH, SAMPLER_WIDTH, PICTURE_WIDTH)
    covered = ask(asking, loaded, painted, "What to replace", phrases="red car", **edges)
    text = encode(sampling, loaded, "What takes its place", prompts[1])
    masked = sampling.add(
        "SetLatentNoiseMask", 46, wires={"samples": painted.latent, "mask": covered["mask"]}
    )
    replaced = sample(
        sampling, sampler, replace(painted, positive=text), masked["LATENT"], seed=seeds[1]
    )
    decoded = decode(joining, loaded, replaced)
    joined = joining.add(
        "ImageCompositeMasked",
        146,
        title="Keep all pixels outside the mask",
        wires={"destination": painted.picture, "source": decoded, "mask": covered["mask"]},
    )
    joining.add(
        "SaveImage", 340, wires={"images": joined["IMAGE"]}, filename_prefix="LD-ZNet/inpaint"
    )
    sheet.group("4 · Replace one of them", [asking, sampling, joining], RED)


def paint(sheet: Sheet, loaded: Loaded, sampler: Sampler, prompt: str, seed: int) -> Painted:
    """The group that makes the first picture, listened to."""
    words, sampling = sheet.columns(WORDS_WIDTH, SAMPLER_WIDTH)
    positive = encode(words, loaded, "Prompt", prompt)
    negative = encode(words, loaded, "Negative prompt", sampler.negative)
    empty = words.add("EmptyLatentImage", 106, width=sampler.side, height=sampler.side)
    wires = {"model": loaded.model, "head": loaded.head}
    capture = words.add("LDZNetCapture", 78, wires=wires)
    painted = Painted(capture["model"], positive, negative, empty["LATENT"], loaded.vae)
    latent = sample(sampling, sampler, painted, painted.latent, seed=seed)
    picture = decode(sampling, loaded, latent)
    sampling.add("PreviewImage", PREVIEW_HEIGHT, title="The picture", wires={"images": picture})
    sheet.group("2 · Paint", [words, sampling], GREEN)
    sheet.begin_rows()
    return replace(painted, latent=latent, picture=picture)


def encode(column: Column, loaded: Loaded, title: str, text: str) -> Wire:
    """The conditioning of a prompt."""
    wires = {"clip": loaded.clip}
    return column.add("CLIPTextEncode", PROMPT_HEIGHT, title=title, wires=wires, text=text)[
        "CONDITIONING"
    ]


def sample(column: Column, sampler: Sampler, painted: Painted, latent: Wire, **values: Any) -> Wire:
    """The latent that a sampler makes out of another."""
    wires = {
        "model": painted.model,
        "positive": painted.positive,
        "negative": painted.negative,
        "latent_image": latent,
    }
    return column.add("KSampler", 262, wires=wires, **sampler.values, **values)["LATENT"]


def decode(column: Column, loaded: Loaded, latent: Wire) -> Wire:
    """The picture of a latent."""
    return column.add("VAEDecode", 46, wires={"samples": latent, "vae": loaded.vae})["IMAGE"]


def ask(column: Column, loaded: Loaded, painted: Painted, title: str = "", **values: Any) -> Node:
    """The node that masks things in a sampled picture."""
    wires = {
        "head": loaded.head,
        "model": painted.model,
        "clip": loaded.clip,
        "samples": painted.latent,
        "vae": loaded.vae,
    }
    return column.add("LDZNetSegment", SEGMENT_HEIGHT, title=title, wires=wires, **values)


def lines(phrases: Sequence[str]) -> str:
    """Phrases as the nodes take them."""
    return "\n".join(phrases)


def show_masks(column: Column, segment: Node, phrases: Sequence[str]) -> None:
    """One picture for each phrase's mask."""
    images = column.add("MaskToImage", 26, wires={"mask": segment["masks"]})
    column.add(
        "PreviewImage",
        MASKS_HEIGHT,
        title=" · ".join(phrases),
        wires={"images": images["IMAGE"]},
    )


if __name__ == "__main__":
    main()
