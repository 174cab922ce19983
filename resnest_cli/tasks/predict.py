"""The first task: what is on these pictures? `Classifier` joins sources, the trunk and class names.

In: files, folders, patterns, URLs. Out: a record for each image, good or bad, in the same order; as a stream, or as a
file that a stopped job resumes. Does not know who reads them.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_cli.errors import ResnestError, UsageError
from resnest_cli.inputs import memory
from resnest_cli.models import labels, provenance
from resnest_cli.options import DEFAULT_TOPK, Options
from resnest_cli.outputs import formats, job, opening
from resnest_cli.outputs.rows import About
from resnest_cli.tasks.calibrate import chosen
from resnest_cli.tasks.embed import Embedder
from resnest_cli.tasks.explain.heatmap import Explainer
from resnest_cli.tasks.opened import Once, OpenedModel, settled
from resnest_cli.tasks.ranking import Ranking
from resnest_cli.types import EngineFacts, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from typing_extensions import Unpack

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.find import Input
    from resnest_cli.inputs.watching import Watch
    from resnest_cli.options import Keywords
    from resnest_cli.outputs.job import Follow, Output
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.pipeline.trunk import RunnerFactory
    from resnest_cli.tasks.explain.heatmap import Explanation
    from resnest_cli.tasks.opened import Inputs
    from resnest_cli.types import Record, Result, Source

LONG_JOB = 200  # images; a shorter job is not worth a hint at a faster way


class Classifier(OpenedModel):
    """An opened model that classifies images; use it as a context manager, or `close` it.

    Args:
        model: variant ("resnest101e"), tagged name, "digits", a model folder or "hf-hub:OWNER/REPO"; or `Options`.
        engine: "auto", "openvino" or "torch", or an `Engine` of your own (a `FakeEngine` in tests).
        many: expect more than one image: the processes that decode them start while the model opens.
        live: inputs come slowly, as from a pipe or a generator that waits: each record is there as soon as it can be,
            before the next input comes. A thread iterates over the inputs then.
        runner: opens what computes rows instead of this machine, such as `cluster.trunk.RayTrunk`.
        **changes: every other field of `Options`, such as `device="cpu"`.

    Attributes:
        spec: the `ModelSpec` that runs, with its data config (size, crop, interpolation, mean, std).
        labels: class names and WordNet ids by class index.
        calibrated: the calibration that answers have, and its file; None without one.
        trunk: turns sources into rows of numbers.
        engine: the opened engine, with its device and the reason for it.
        stages: the seconds that reading, decoding and the network have taken so far.

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError, UnknownModel: an option or a name that cannot be meant.
        WeightsUnavailable, BadCheckpoint, LabelsError, DeviceError: the model cannot be opened.
    """

    def __init__(
        self,
        model: str | Options = Options.model,
        *,
        engine: str | Engine | None = None,
        many: bool = False,
        live: bool = False,
        runner: RunnerFactory | None = None,
        **changes: Unpack[Keywords],
    ) -> None:
        spec, options = settled(model, engine, changes)
        self.labels = labels.load(spec, options.labels)
        self.calibrated = chosen.choose(spec, options)
        super().__init__(spec, options, want="logits", engine=engine, many=many, live=live, runner=runner)
        self._has_network = engine is None or isinstance(engine, str)
        self._embedder = Once(partial(Embedder, options, runner=runner))
        self._explainer = Once(partial(Explainer, options))
        self._require_calibration()

    def __call__(self, image: Input, *, topk: int = DEFAULT_TOPK, threshold: float = 0.0) -> Result:
        """Classify one image.

        >>> with Classifier("digits") as model:
        ...     print(model("digits/two_0051.png").top1.label)
        two

        Args:
            image: a path, a URL or an image in memory, as for `predict`.
            topk: as for `predict`.
            threshold: as for `predict`.

        Raises:
            ImageError: there is no answer.
            UsageError: more than one image is named, or as `predict` does.
        """
        (record,) = self.classify(self.find_one(image), topk=topk, threshold=threshold)
        if isinstance(record, Failure):
            raise record.error
        return record

    def predict(
        self,
        inputs: Inputs,
        *,
        topk: int = DEFAULT_TOPK,
        threshold: float = 0.0,
        recursive: bool = True,
        exclude: Sequence[str] = (),
    ) -> Iterator[Record]:
        """Classify every image named or found, lazily and in order.

        Args:
            inputs: one or many of files, folders, glob patterns, http(s) URLs, or "-" for one image on stdin; and of
                images in memory: bytes, open files, PIL images, uint8 arrays or tensors [H, W, 3] (RGB) or [H, W]. An
                image in memory without a name of its own has its position as its path: "#3" is the fourth input.
            topk: the most classes of an answer; more than there are gives all.
            threshold: keep only classes with at least this probability, 0..1.
            recursive: look into the folders of folders.
            exclude: patterns of what to leave out of folders, such as "*_mask.png" or "raw".

        Returns:
            An iterator of one record for each image: a `Result`, or a `Failure` where there is no answer. Probabilities
            are the float32 softmax over all classes; equal ones come in the order of their class index. Of a calibrated
            model they are at its temperature, and each `Result` has a `Certainty`.

        Raises:
            UsageError: `topk` below 1 or `threshold` outside 0..1.
        """
        return self.classify(self.find(inputs, recursive=recursive, exclude=exclude), topk=topk, threshold=threshold)

    def submit(
        self,
        image: Input,
        *,
        topk: int = DEFAULT_TOPK,
        threshold: float = 0.0,
        timeout: float | None = None,
        block: bool = True,
    ) -> Future[Record]:
        """Return a future of the record of one image, at once; from any thread.

        Images that are submitted together run in batches, each answer comes as soon as it is there, and a bad image
        delays no other. `future.cancel()` works until the network has begun with the image.

        >>> with Classifier("digits") as model:
        ...     print(model.submit("digits/two_0051.png").result().top1.label)
        two

        Args:
            image: a path, a URL or an image in memory, as for `predict`.
            topk: as for `predict`.
            threshold: as for `predict`.
            timeout: seconds; after them the record is a `Failure` of the type DeadlineExceeded.
            block: wait where too many images wait already (1,024, or 256 MB of images in memory).

        Returns:
            A future whose result is a `Result`, or a `Failure` where there is no answer. What ends a job is raised
            there, as `OutOfMemory` or `DeviceError`.

        Raises:
            QueueFull: too many images wait, and `block` is False.
            UsageError: more than one image is named, or as `predict` does.
        """
        (source,) = self.find_one(image)
        limit = math.inf if timeout is None else timeout
        return self.trunk.submit(source, self.ranking(topk, threshold), timeout=limit, block=block)

    def embed(self, inputs: Inputs) -> Iterator[Row | Failure]:
        """Return the features of every image named or found, lazily and in order, as `Embedder.embed` does.

        The first call opens the network once more, for features; it is closed with this model.

        Raises:
            UsageError: this model runs an engine of your own, which gives logits.
        """
        self._require_network()
        return self._embedder.get().embed(inputs)

    def explain(self, image: Input, target: str | int | None = None) -> Explanation:
        """Return where the network looks in one image.

        The first call opens the network once more, in fp32, with the outputs that this needs; it is closed with this
        model.

        >>> with Classifier("digits") as model:
        ...     model.explain("digits/two_0051.png", "three").overlay().save("three.png")

        Args:
            image: a path, a URL or an image in memory, as for `predict`.
            target: the class to explain, by name, index or WordNet id; None: the image's first.

        Raises:
            ImageError: the image cannot be read.
            UsageError: no such class, more than one image, or an engine or exported model that gives logits only.
        """
        self._require_network()
        (found,) = self._explainer.get().explain(self.find_one(image), target)
        if isinstance(found, Failure):
            raise found.error
        return found

    def classify(
        self, found: Iterable[Source | Failure], *, topk: int = DEFAULT_TOPK, threshold: float = 0.0
    ) -> Iterator[Record]:
        """Classify sources; the rest is as for `predict`."""
        return map(self.ranking(topk, threshold), self.trunk.rows(found))

    def write(  # noqa: PLR0913 - all but two by name
        self,
        inputs: Inputs,
        output: str | os.PathLike[str],
        *,
        topk: int = DEFAULT_TOPK,
        threshold: float = 0.0,
        format: str = formats.AUTO,
        overwrite: bool = False,
        resume: bool = False,
        append_new: bool = False,
        by_hash: bool = False,
        retry_failed: bool = False,
        watch: bool = False,
        max_failures: int | str | None = None,
    ) -> Summary:
        """Classify every image named or found, and write a row for each to a file.

        Whatever stops the job, the same call with `resume=True` continues after the last finished row, and the file is
        byte-identical to an uninterrupted run's. `resnest predict -o FILE --resume` continues it too, and this call
        continues a job that the command began.

        >>> with Classifier("digits") as model:
        ...     summary = model.write(["digits/two_0051.png", "lost.png"], "answers.csv", resume=True)
        >>> print(summary.ok, dict(summary.failures), summary.exit_code)
        1 {'UnreadableInput': 1} 3

        Args:
            inputs: as for `predict`.
            output: the file; its suffix names the format: jsonl, json, csv, tsv, parquet or html.
            topk: as for `predict`.
            threshold: as for `predict`.
            format: another format than the suffix names.
            overwrite: replace a file that exists.
            resume: continue the job that wrote the file; begin where there is none, do nothing where it is finished.
                Inputs are known by their paths, so an image in memory that has no name is refused.
            append_new: add the rows of new and changed inputs to a file that is there; skip the others.
            by_hash: with `append_new`, an input has changed if its content has, whatever its time says.
            retry_failed: try those inputs once more whose rows in the file have failed, and replace these rows.
            watch: go on with `append_new` as files come into the folders that `inputs` names, until an interrupt. The
                model must be opened with `live=True`.
            max_failures: stop when more inputs have failed: a number, or a share as "5%".

        Returns:
            How many inputs have an answer, what failed by type, and the time per stage.

        Raises:
            UsageError: an argument that cannot be meant.
            OutputError: the file exists, is of another job, is being written by another process, or cannot be written.
            TooManyFailures: more than `max_failures` have failed; finished rows stand.
        """
        path = Path(output)
        watched = self._watch(inputs) if watch else None
        found = watched.sources() if watched else self.find(inputs)
        with opening.open_output(
            path,
            formats.named(format, path),
            overwrite=overwrite,
            resume=resume,
            append_new=append_new or watch,
            by_hash=by_hash,
            retry_failed=retry_failed,
            hold=watched.hold if watched else None,
        ) as out:
            return self.write_to(out, found, topk=topk, threshold=threshold, max_failures=max_failures)

    def write_to(  # noqa: PLR0913 - all but two by name
        self,
        out: Output,
        found: Iterable[Source | Failure],
        *,
        topk: int = DEFAULT_TOPK,
        threshold: float = 0.0,
        max_failures: MaxFailures | int | str | None = None,
        follow: Follow | None = None,
    ) -> Summary:
        """Classify sources, and write a row for each to an output that is open; the rest is as for `write`.

        Args:
            out: see `outputs.opening.open_output`, and `cluster.output.Shards` for a folder that a cluster writes.
            found: the sources.
            topk: as for `predict`.
            threshold: as for `predict`.
            max_failures: as for `write`.
            follow: sees each record on its way, for a progress bar; see `outputs.job.Follow`.
        """
        if out.format.name == "html" and not self.options.thumbnails:
            message = "a page shows pictures: open the model with thumbnails=True."
            raise UsageError(message)
        return job.run(self._job(out, topk, threshold), found, out, max_failures=max_failures, follow=follow)

    def columns(self, topk: int) -> int:
        """Return how many classes an answer can have: `topk`, or all there are."""
        return min(topk, self.spec.num_classes)

    def ranking(self, topk: int, threshold: float) -> Ranking:
        """Return what turns a row of logits into a record.

        Raises:
            UsageError: `topk` below 1 or `threshold` outside 0..1.
        """
        if topk < 1 or not 0 <= threshold <= 1:
            message = f"--topk {topk} --threshold {threshold}: use at least 1, and a probability from 0 to 1."
            raise UsageError(message)
        return Ranking(self.labels, topk, threshold, self.calibrated.assessment if self.calibrated else None)

    def hint(self, summary: Summary) -> str:
        """Return what would make the next job faster, or "".

        A long job in fp32 that waited mostly for the network gains from bf16, on a CPU that computes it natively.
        """
        native = "BF16" in EngineFacts.of(self.engine).native
        waited = summary.stages.forward > summary.seconds / 2
        if summary.complete or not (native and self.engine.precision == "fp32" and summary.ok >= LONG_JOB and waited):
            return ""
        return "hint: this CPU computes bf16 natively: --precision bf16 is about twice as fast, and less exact."

    def _watch(self, folders: Inputs) -> Watch:
        from resnest_cli.inputs.watching import Watch  # noqa: PLC0415 - one call needs it

        if not self.live:
            raise UsageError("watch=True: rows come as the images do: open the model with live=True.")
        names: Any = [folders] if memory.is_one(folders) else folders
        return Watch([os.fspath(name) for name in names])

    def _close(self, *, cancel: bool) -> None:
        super()._close(cancel=cancel)
        self._embedder.close()
        self._explainer.close()

    def _require_calibration(self) -> None:
        """Check that the calibration is of this model; if not, close the model."""
        try:
            if self.calibrated:
                self.calibrated.require(self.spec, self.options, self.engine)
        except ResnestError:
            self.close()
            raise

    def _require_network(self) -> None:
        if not self._has_network:
            raise UsageError("an engine of your own gives logits only: open the model without it.")

    def _job(self, out: Output, topk: int, threshold: float) -> job.Job:
        finish = self.ranking(topk, threshold)
        facts: dict[str, Any] = {"versions": provenance.versions(self.engine)}
        fingerprint: dict[str, Any] = {}
        if out.is_traced:  # the checksum of a weights file takes a moment
            facts = provenance.predictions(self.spec, self.options, self.engine)
            fingerprint = provenance.identity(self.spec, facts)
        fingerprint |= {
            "labels": provenance.names_sha256(self.labels),
            "topk": topk,
            "threshold": threshold,
            "format": out.format.name,
        }
        if self.options.with_exif:
            fingerprint |= {"with_exif": True}
        if self.calibrated:
            facts, fingerprint = facts | self.calibrated.facts, fingerprint | self.calibrated.facts
        about = About(
            self.columns(topk), facts, is_calibrated=self.calibrated is not None, has_exif=self.options.with_exif
        )
        to_row, table = out.format.to_row, partial(formats.parquet_table, about)
        return job.Job(self.trunk, finish, to_row, table, about, fingerprint, self.batch)
