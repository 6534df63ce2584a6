"""The beginnings that most of these tests' graphs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .client import Client, Result
from .graph import Graph, Node, Output

PROMPT, NEGATIVE = "a red car in a meadow", "a blue boat on a beach"


@dataclass(frozen=True, slots=True)
class Setup:
    """The miniature with a prompt, in a graph."""

    graph: Graph
    model: Output
    clip: Output
    vae: Output
    head: Output
    positive: Output
    negative: Output

    def empty(self, width: int = 128, height: int = 128, batch_size: int = 1) -> Output:
        """Latents for a new picture."""
        return self.graph.add(
            "EmptyLatentImage", width=width, height=height, batch_size=batch_size
        )[0]

    def text(self, prompt: str) -> Output:
        """A conditioning."""
        return self.graph.add("CLIPTextEncode", clip=self.clip, text=prompt)[0]

    def capture(self, model: Output | None = None) -> Output:
        """The model after LDZNetCapture."""
        return self.graph.add("LDZNetCapture", model=self.model if model is None else model)[0]

    def sample(self, model: Output, latent_image: Output, **settings: Any) -> Node:
        """A KSampler of a few steps, one of them at a timestep of interest."""
        chosen = {"seed": 7, "steps": 8, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
        return self.graph.add(
            "KSampler",
            model=model,
            positive=self.positive,
            negative=self.negative,
            latent_image=latent_image,
            **(chosen | settings),
        )

    def segment(self, model: Output, samples: Output | Node, **settings: Any) -> Node:
        """An LDZNetSegment that looks for what the prompt names."""
        chosen = {"phrases": "the car\nthe meadow", "source": "auto"}
        return self.graph.add(
            "LDZNetSegment",
            head=self.head,
            model=model,
            clip=self.clip,
            samples=samples,
            **(chosen | settings),
        )

    def segment_image(self, image: Output | Node, **settings: Any) -> Node:
        """An LDZNetSegmentImage."""
        chosen = {"phrases": "the car"}
        return self.graph.add(
            "LDZNetSegmentImage",
            head=self.head,
            model=self.model,
            clip=self.clip,
            vae=self.vae,
            image=image,
            **(chosen | settings),
        )

    def read(self, value: Output | Node) -> Node:
        """A node that brings a value out of the host."""
        return self.graph.add("LDZTestRead", value=value)


def miniature(client: Client, prompt: str = PROMPT, negative: str = NEGATIVE) -> Setup:
    """Begin a graph with the miniature, its head and a prompt."""
    graph = client.graph()
    loaded = graph.add("LDZNetLoadMiniature")
    model, clip, vae = (loaded[index] for index in range(3))
    head = graph.add("LDZNetLoadHead", head_name="miniature")[0]
    positive, negative_out = (
        graph.add("CLIPTextEncode", clip=clip, text=text)[0] for text in (prompt, negative)
    )
    return Setup(graph, model, clip, vae, head, positive, negative_out)


def report_of(result: Result, segment: Node) -> str:
    """What a segment node says under its preview."""
    text: str = result.outputs[segment.id]["text"][0]
    return text
