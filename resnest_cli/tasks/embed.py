"""Pooled features of pictures: what the network knows before it decides on a class.

In: a stream of sources. Out: for each source, in order, its features float32 [F] (timm's `num_classes=0`) or a failure;
as a stream, or as a file that a stopped job resumes. Does not know what they are compared with.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resnest_cli.models import provenance
from resnest_cli.options import Options
from resnest_cli.outputs import features, job, opening
from resnest_cli.outputs.rows import About
from resnest_cli.tasks.opened import OpenedModel, settled
from resnest_cli.types import Failure

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from resnest_cli.engines.base import Engine
    from resnest_cli.inputs.find import Input
    from resnest_cli.options import Keywords
    from resnest_cli.outputs.job import Follow, Output
    from resnest_cli.outputs.limits import MaxFailures
    from resnest_cli.outputs.summary import Summary
    from resnest_cli.pipeline.stream import Row
    from resnest_cli.pipeline.trunk import RunnerFactory
    from resnest_cli.tasks.opened import Inputs
    from resnest_cli.types import Source


class Embedder(OpenedModel):
    """An opened model that computes features; use it as a context manager, or `close` it.

    Args:
        model: as for `Classifier`.
        normalize: scale each row to length 1 (L2).
        engine: "auto", "openvino" or "torch", or an `Engine` of your own, opened for features.
        many: expect more than one image: the processes that decode them start while the model opens.
        live: inputs come slowly, as from a pipe or a generator that waits: each record is there as soon as it can be,
            before the next input comes. A thread iterates over the inputs then.
        runner: opens what computes rows instead of this machine, such as `cluster.trunk.RayTrunk`.
        **changes: every other field of `Options`, such as `device="cpu"`.

    Attributes:
        trunk: turns sources into rows of numbers.
        facts: how the features are made: model, weights, preprocessing, engine, versions (JSON values).

    Raises:
        TypeError: a keyword that is no field of `Options`.
        UsageError, UnknownModel: an option or a name that cannot be meant.
        WeightsUnavailable, BadCheckpoint, DeviceError: the model cannot be opened.
    """

    def __init__(  # noqa: PLR0913 - all but one by name
        self,
        model: str | Options = Options.model,
        *,
        normalize: bool = False,
        engine: str | Engine | None = None,
        many: bool = False,
        live: bool = False,
        runner: RunnerFactory | None = None,
        **changes: Unpack[Keywords],
    ) -> None:
        spec, options = settled(model, engine, changes)
        super().__init__(spec, options, want="features", engine=engine, many=many, live=live, runner=runner)
        self.normalize = normalize
        self.facts = provenance.features(spec, options, self.engine, normalized=normalize)

    @property
    def width(self) -> int:
        """F, the numbers in a row."""
        return int(self.facts["width"])

    def __call__(self, image: Input) -> NDArray[np.float32]:
        """Return the features of one image, float32 [F]: a path, a URL or an image in memory.

        Raises:
            ImageError: there are none.
            UsageError: more than one image is named.
        """
        (row,) = self.embed(self.find_one(image))
        if isinstance(row, Failure):
            raise row.error
        return row.values

    def embed(self, inputs: Inputs) -> Iterator[Row | Failure]:
        """Return the features of every image named or found, lazily and in order; `inputs` as for `predict`."""
        return map(scaled if self.normalize else unscaled, self.trunk.rows(self.find(inputs)))

    def write(
        self,
        inputs: Inputs,
        output: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        resume: bool = False,
        max_failures: int | str | None = None,
    ) -> Summary:
        """Compute the features of every image named or found, and write a row for each to a file.

        Whatever stops the job, the same call with `resume=True` continues after the last finished row; so does
        `resnest embed -o FILE --resume`.

        >>> with Embedder("digits") as model:
        ...     summary = model.write("scans/", "scans.npy", resume=True)

        Args:
            inputs: as for `Classifier.predict`.
            output: the file, which ends in .npy (float32 [N, F], the paths beside it), .parquet, .jsonl or .csv.
            overwrite: replace a file that exists.
            resume: as for `Classifier.write`.
            max_failures: stop when more inputs have failed: a number, or a share as "5%".

        Returns:
            How many inputs have features, what failed by type, and the time per stage.

        Raises:
            UsageError, OutputError, TooManyFailures: as `Classifier.write` does.
        """
        path = Path(output)
        with opening.open_output(path, features.named(path), overwrite=overwrite, resume=resume) as out:
            return self.write_to(out, self.find(inputs), max_failures=max_failures)

    def write_to(
        self,
        out: Output,
        found: Iterable[Source | Failure],
        *,
        max_failures: MaxFailures | int | str | None = None,
        follow: Follow | None = None,
    ) -> Summary:
        """Compute the features of sources, and write a row for each to an open output; see `Classifier.write_to`."""
        fingerprint = provenance.identity(self.spec, self.facts)
        fingerprint |= {"width": self.width, "normalized": self.normalize}
        finish = scaled if self.normalize else unscaled
        about = About(0, self.facts)
        work = job.Job(self.trunk, finish, features.to_row, features.table, about, fingerprint, self.batch)
        return job.run(work, found, out, max_failures=max_failures, follow=follow)


def unscaled(item: Row | Failure) -> Row | Failure:
    """Return the row as it is."""
    return item


def scaled(item: Row | Failure) -> Row | Failure:
    """Scale a row to length 1; a failure stays one."""
    return item if isinstance(item, Failure) else replace(item, values=normalized(item.values))


def normalized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows [..., F] to length 1; a row of zeros stays as it is, one whose length is no number is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(values, axis=-1, keepdims=True)
        lengths = np.where(np.isinf(lengths), np.nan, np.where(lengths == 0, 1, lengths))
        return np.asarray(values / lengths, np.float32)
