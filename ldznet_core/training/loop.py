"""The training loop that every stage shares: budget, resume, averages, log and samples."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from ..errors import InputError
from .log import TrainingLog
from .plan import Batch, MeasuredStage, Plan, Stage
from .saved_state import checked_state, fresh_state, publish_state

LOOKS_EACH = 10
"""Steps from one look at the clock, and line of the log, to the next."""

_UNREADABLE = (
    *(RuntimeError, ValueError, LookupError, OSError, EOFError),
    *(SafetensorError, UnpicklingError),
)
"""What torch, safetensors and Accelerate raise of states that do not fit or are damaged."""


@dataclass
class _Progress:
    """What is saved beside weights and averages."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.samples = state["step"], state["samples"]
        self.seconds = state["seconds"]


class _Batches(IterableDataset[list[Batch]]):
    """The batches of each step from one on, in order, however many workers make them."""

    def __init__(
        self, make: Callable[[Plan, int, int], Batch], plan: Plan, start: int, process: int
    ) -> None:
        self._make, self._plan, self._start, self._process = make, plan, start, process

    def __iter__(self) -> Iterator[list[Batch]]:
        worker = torch.utils.data.get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        passes = self._plan.accumulate
        for step in range(self._start + offset, self._plan.steps, stride):
            numbers = range(step * passes, (step + 1) * passes)
            yield [self._make(self._plan, number, self._process) for number in numbers]


def train(stage: Stage, plan: Plan, run: Path, *, resume: bool) -> int:
    """Train a stage until its steps or this run's minutes are used up.

    Everything needed to go on is in ``run / stage.name / "state"``; the averaged weights, or
    where no average is kept the last ones, are published to ``run / "weights"`` at the end and
    with each sample sheet.

    Returns:
        The steps done so far, over all runs.

    Raises:
        InputError: a state exists but ``resume`` is false, or the other way round; or it is of
            another training.
    """
    set_seed(plan.seed)
    accelerator = Accelerator(
        cpu=lacks_accelerator(),
        mixed_precision=plan.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    folder = run / stage.name
    state = checked_state(folder, resume=resume)
    trained = [each for each in stage.objective.parameters() if each.requires_grad]
    stage.objective.to(accelerator.device)
    average = EMAModel(trained, decay=plan.average, foreach=True) if plan.average else None
    optimizer = torch.optim.AdamW(trained, plan.learning_rate, betas=(0.9, 0.99), fused=True)
    objective, optimizer = accelerator.prepare(stage.objective, optimizer)
    progress = _Progress()
    accelerator.register_for_checkpointing(*([average] if average else []), progress)
    if state:
        _load(accelerator, state)
    if average:
        average.to(accelerator.device)
    _Runner(stage, plan, run, accelerator, objective, optimizer, average, trained, progress).run()
    accelerator.end_training()
    return progress.step


@dataclass
class _Runner:
    stage: Stage
    plan: Plan
    run_folder: Path
    accelerator: Accelerator
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    average: EMAModel | None
    trained: list[nn.Parameter]
    progress: _Progress

    def run(self) -> None:
        """Steps until the budget ends, with a save at each sample sheet and at the end."""
        plan, progress = self.plan, self.progress
        log = TrainingLog(self.run_folder / self.stage.name)
        if self.accelerator.is_main_process:
            log.rewind(progress.step)
        start, start_step = time.monotonic(), progress.step
        next_sheet = plan.sample_minutes
        earlier = progress.seconds
        bar = tqdm(
            total=plan.steps,
            initial=progress.step,
            desc=self.stage.name,
            disable=not self.accelerator.is_main_process,
        )
        for batches in self._batches():
            losses = self._step(batches)
            progress.step += 1
            progress.samples += self._samples_of_step
            bar.update()
            if progress.step % LOOKS_EACH and progress.step < plan.steps:
                continue
            minutes = (time.monotonic() - start) / 60
            progress.seconds = earlier + 60 * minutes
            minutes, figures = self._agree(minutes, losses)
            rate = (progress.step - start_step) / max(minutes * 60, 1e-9)
            bar.set_postfix_str(self._describe(figures, rate, minutes))
            if self.accelerator.is_main_process:
                log.add(progress.step, progress.seconds, figures, steps_per_second=rate)
            if minutes >= plan.budget_minutes:
                break
            if minutes >= next_sheet:
                self._save(log)
                next_sheet = minutes + plan.sample_minutes
        bar.close()
        self._save(log)

    @property
    def _samples_of_step(self) -> int:
        processes: int = self.accelerator.num_processes
        return self.plan.batch * self.plan.accumulate * processes

    def _describe(self, figures: dict[str, float], rate: float, minutes: float) -> str:
        """Losses, samples a second, and what is left of the steps or of the budget."""
        to_do = (self.plan.steps - self.progress.step) / max(60 * rate, 1e-9)
        left = max(0.0, min(to_do, self.plan.budget_minutes - minutes))
        told = {name: f"{value:.4f}" for name, value in figures.items()}
        told |= {"samples/s": f"{rate * self._samples_of_step:.3g}", "minutes left": f"{left:.0f}"}
        return ", ".join(f"{name}={value}" for name, value in told.items())

    def _batches(self) -> DataLoader[list[Batch]]:
        process = self.accelerator.process_index
        batches = _Batches(self.stage.batch, self.plan, self.progress.step, process)
        workers = self.plan.workers
        apart = torch.Generator()  # else it draws from the one that a resumed training goes on with
        return DataLoader(batches, batch_size=None, num_workers=workers, generator=apart)

    def _step(self, batches: list[Batch]) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.progress.step)
        for number, batch in enumerate(batches, start=1):
            is_last = number == len(batches)  # only then do processes share their gradients
            with nullcontext() if is_last else self.accelerator.no_sync(self.objective):
                losses = self._pass(batch, len(batches))
        self.accelerator.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.step(self.trained)
        return losses

    def _pass(self, batch: Batch, passes: int) -> dict[str, Tensor]:
        device = self.accelerator.device
        moved = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
        with self.accelerator.autocast():
            losses: dict[str, Tensor] = self.objective(moved)
        self.accelerator.backward(losses["loss"] / passes)
        return losses

    def _agree(self, minutes: float, losses: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
        """Minutes and losses averaged over the processes, so that all stop at the same step."""
        values = torch.stack(
            [torch.tensor(minutes), *(v.detach().float().cpu() for v in losses.values())]
        )
        mean = self.accelerator.reduce(values.to(self.accelerator.device), "mean").tolist()
        return mean[0], dict(zip(losses, mean[1:], strict=True))

    def _save(self, log: TrainingLog) -> None:
        """Save the state whole or not at all, publish the averaged weights, draw the sheet."""
        folder = self.run_folder / self.stage.name
        fresh = fresh_state(folder)
        if self.accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            publish_state(folder)
            self._show(folder, log)
        self.accelerator.wait_for_everyone()

    def _show(self, folder: Path, log: TrainingLog) -> None:
        progress = self.progress
        with self._averaged(), torch.inference_mode():
            if isinstance(self.stage, MeasuredStage) and (figures := self.stage.figures()):
                log.add_figures(progress.step, progress.seconds, figures)
            self.stage.sheet().save(folder / f"samples-{progress.step:07d}.png")
            self.stage.publish(self.run_folder / "weights", self._provenance())
        log.plot()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The networks with their averaged weights, at rest."""
        if self.average:
            self.average.store(self.trained)
            self.average.copy_to(self.trained)
        self.stage.objective.eval()
        try:
            yield
        finally:
            self.stage.objective.train()
            if self.average:
                self.average.restore(self.trained)

    def _provenance(self) -> str:
        progress = self.progress
        return (
            f"{self.stage.name}: {progress.step} steps, {progress.samples} samples, "
            f"{progress.seconds / 60:.0f} minutes, seed {self.plan.seed}"
        )


def lacks_accelerator() -> bool:
    """Whether training is on the CPU; Accelerate must be told, or it takes each process for one."""
    return not torch.accelerator.is_available()


def _load(accelerator: Accelerator, state: Path) -> None:
    """Take over a saved state.

    Raises:
        InputError: It is of networks of other sizes, kept another average, or is damaged.
    """
    try:
        accelerator.load_state(str(state))
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, but none of the state's making
    except _UNREADABLE as error:
        raise InputError(
            f"expected a state of this very training in {state}, got another or a damaged one: "
            "repeat the flags that it was begun with, or choose another --folder"
        ) from error
