"""The same work by Apache Beam, on any of its runners.

Beam carries the bundles from where the text is to where their bucket is; what is done at either end
is in `bundles` and `examples`. Its workers write into the corpus's folder, which all must see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tf_prune_ofa.corpus.build import Runner
from tf_prune_ofa.corpus.bundles import bundles_of
from tf_prune_ofa.corpus.examples import parts_of
from tf_prune_ofa.corpus.folder import Workshop
from tf_prune_ofa.corpus.plan import Plan
from tf_prune_ofa.corpus.sources import Unit
from tf_prune_ofa.errors import UserError

_MARK = "UserError: "


def beam(arguments: Sequence[str]) -> Runner:
    """Return a runner that hands the work to Beam.

    Args:
        arguments: for Beam, such as "--runner=FlinkRunner".

    Raises:
        UserError: Beam is not installed, or does not know an argument.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "Apache Beam is not installed. Run: pip install 'tf_prune_ofa[corpus]', or leave "
            "Beam's flags out: without them the work is done by processes of this machine"
        ) from None
    options = PipelineOptions(list(arguments))
    unknown = [name for name in arguments if not name.startswith("--")]
    if unknown:
        raise UserError(f"Beam's flags have the form --name=value, got {unknown[0]!r}")

    def run(plan: Plan, units: Sequence[Unit], workshop: Workshop) -> None:
        missing = {b for b in range(plan.buckets) if not workshop.has_part(b)}
        if not missing:
            return
        try:
            with apache_beam.Pipeline(options=options) as pipeline:
                _ = (
                    pipeline
                    | "Units" >> apache_beam.Create(list(units))
                    | "Spread" >> apache_beam.Reshuffle()
                    | "Tokenize" >> apache_beam.FlatMap(_bundles, plan, frozenset(missing))
                    | "ByBucket" >> apache_beam.GroupByKey()
                    | "Records" >> apache_beam.Map(_write, plan, workshop)
                )
        # Beam wraps what a worker raised in an error of its own, with the traceback as text.
        except Exception as error:
            told = str(error)
            if isinstance(error, UserError) or _MARK not in told:
                raise
            raise UserError(told.rpartition(_MARK)[2].split("\n")[0]) from error
        for bucket in missing:
            if not workshop.has_part(bucket):
                workshop.write_part(bucket, parts_of([], plan))

    return run


def _bundles(unit: Unit, plan: Plan, missing: frozenset[int]) -> Iterator[tuple[int, bytes]]:
    for bundles in bundles_of([unit], plan, wanted=missing.__contains__):
        yield from bundles.items()


def _write(group: tuple[int, Iterable[bytes]], plan: Plan, workshop: Workshop) -> None:
    bucket, bundles = group
    workshop.write_part(bucket, parts_of(bundles, plan))
