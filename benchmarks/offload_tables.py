"""The tables of the report on offload, as Markdown."""

from collections.abc import Mapping, Sequence
from operator import truediv

from benchmarks.offload_figures import CRASH_JOBS, CRASHING, Jobs, Mixed, worst
from benchmarks.rounds import Sample, paired
from benchmarks.table import markdown, middle, number


def pool_table(
    samples: Sequence[Sample], titles: Mapping[str, Sequence[str]], base: str, unit: str, form: str, rounds: int
) -> str:
    """One figure of every pool: a row for each name in `titles`, which gives its first two cells."""
    rows = []
    for name, title in titles.items():
        values = [sample.value for sample in samples if sample.name == name]
        spread = [number(limit(values) if values else None, form) for limit in (min, max)]
        compared = number(paired(samples, base, [name], min, truediv), ".2f")
        rows.append([*title, middle(values, form), *spread, compared, f"{len(values)} of {rounds}"])
    return markdown(["pool", "called from", unit, "lowest", "highest", f"{base} ÷ it", "valid rounds"], rows)


def mixed_table(found: Sequence[Mixed], titles: Mapping[str, str], rounds: int) -> str:
    """The mixed load: medians, and the sum of what was refused or failed."""
    rows = []
    for name, title in titles.items():
        own = [one for one in found if one.name == name]
        rows.append(
            [
                title,
                middle([one.light_per_second for one in own], ",.0f"),
                middle([one.p50_ms for one in own], ".2f"),
                middle([one.p99_ms for one in own], ".2f"),
                middle([one.heavy_per_second for one in own], ".1f"),
                f"{sum(one.refused for one in own):,}",
                f"{sum(one.failed for one in own):,}",
                f"{len(own)} of {rounds}",
            ]
        )
    header = ["server", "light requests/s", "light p50 ms", "light p99 ms", "heavy jobs/s", "503", "failed"]
    return markdown([*header, "valid rounds"], rows)


def jobs_table(found: Sequence[tuple[str, Jobs]], titles: Mapping[str, str]) -> str:
    """What became of the jobs in each pool's worst round, and in how many a crash cost its own job only."""
    counted = [f"right, of {CRASH_JOBS - CRASHING}", f"crash named, of {CRASHING}"]
    header = ["pool", *counted, "others failed as crashed", "other errors", "never answered", "faultless rounds"]
    rows = []
    for name, title in titles.items():
        if (jobs := worst(found, name)) is None:
            continue
        counts = [jobs.right, jobs.named, jobs.struck, jobs.other, jobs.unanswered]
        own = [one for pool, one in found if pool == name]
        faultless = sum((one.right, one.named) == (CRASH_JOBS - CRASHING, CRASHING) for one in own)
        rows.append([title, *(f"{count:,}" for count in counts), f"{faultless} of {len(own)}"])
    return markdown(header, rows)
