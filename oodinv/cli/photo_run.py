"""The run of `oodinv align` and `oodinv invert` over photos. Imports torch: import only in command bodies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from oodinv.cli.engine import choose_engine
from oodinv.cli.groups import AlignComputeOptions, FaceOptions, MessageOptions, RunOptions
from oodinv.cli.plan import show_plan
from oodinv.cli.prepare import choose_shard, shard_notes
from oodinv.cli.progress import Summary, conclude, follow
from oodinv.runs import runner
from oodinv.runs.collect import look_through
from oodinv.runs.manifest import Header
from oodinv.runs.pipeline import Stages

S = TypeVar("S", bound=Stages)  # type: ignore[type-arg]


@dataclass(frozen=True)
class PhotoRun:
    """Inputs and options of a run. verb: shown with the progress bar."""

    inputs: Sequence[Path]
    output: Path
    select: FaceOptions
    compute: AlignComputeOptions
    run: RunOptions
    messages: MessageOptions
    verb: str

    def carry_out(
        self,
        make_stages: Callable[[str], S],
        header_of: Callable[[S, str], Header],
        notes_of: Callable[[S], Sequence[str]] = lambda _: (),
    ) -> None:
        """Runs the stages of a workflow, or with `--dry-run` lists the files.

        make_stages: builds them for a device; also called by Ray workers. header_of: returns the manifest header for
        stages and a detector's name. notes_of: returns notes for the summary.

        Raises:
            OodinvError: a problem that the user can solve. typer.Exit: with status 1 if a photo failed.
        """
        shard = choose_shard(self.compute.shard, self.run.restart)
        found = look_through(list(self.inputs), self.output, frames=self.select.all_frames)
        stages, engine = choose_engine(make_stages, self.compute, shard)
        header = header_of(stages, self.select.detector)
        quiet, as_json = self.messages.quiet, self.messages.json
        if self.run.dry_run:
            show_plan(found, self.output, header, restart=self.run.restart, as_json=as_json)
            return
        events = runner.run(
            engine,
            found.jobs,
            self.output,
            header,
            chunk=self.compute.chunk,
            restart=self.run.restart,
            shard=shard,
        )
        summary = Summary(self.output, (*notes_of(stages), *found.notes, *shard_notes(shard)))
        conclude(
            follow(events, summary, self.verb, quiet, getattr(stages, "refiner", None)), as_json=as_json, quiet=quiet
        )
