"""The tables of `./run bench live`."""

import argparse
from collections.abc import Iterable

import numpy as np

from ._live_load import SWEEP_US, Run


def print_long(run: Run, options: argparse.Namespace) -> None:
    p50, p99, oldest = run.age_ms(50, 99, 100)
    lost = {**{why: n for why, n in run.dropped.items() if n}, **({"not sent": run.unsent} if run.unsent else {})}
    estimator = options.estimator or "the default estimator"
    print(f"\n### {run.seconds / 60:.1f} minutes at {run.rate:g} M events/s, {estimator}, {options.cores} cores\n")
    table(
        ("", ""),
        [
            ("events", f"{run.sent:,} sent, {run.sent / run.seconds / 1e6:.1f} M/s"),
            ("lost", ", ".join(f"{n:,} {why}" for why, n in lost.items()) or "nothing"),
            (
                "depths",
                f"{len(run.ages_ms)}, {len(run.ages_ms) / run.seconds:.2f} a second of {1e6 / SWEEP_US:g} sweeps",
            ),
            ("from the end of the sweep to the subscriber", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"),
            ("the oldest", f"{oldest:.0f} ms"),
            ("queues at their longest", ", ".join(f"{name} {n}" for name, n in run.queues.items())),
            ("median error of depth", f"{run.median_error:.3f} of the range"),
        ],
    )
    print()
    rows = [
        (name, *(f"{np.percentile(ms, q):.1f}" for q in (50, 99)))
        for name, ms in {**run.stages_ms, "wire": run.wire_ms}.items()
    ]
    table(("stage", "p50, ms", "p99, ms"), rows)
    print()
    table(("processor time", "cores"), [(name, f"{cores:.2f}") for name, cores in run.cpu.items()])
    print()
    rows = []
    for name, samples in run.rss.items():
        at, megabytes = np.array(samples).T
        settled = at >= at[-1] / 3  # earlier, buffers are still being touched for the first time
        slope = np.polyfit(at[settled], megabytes[settled], 1)[0] * 60 if settled.sum() > 2 else np.nan
        rows.append((name, f"{megabytes[0]:.1f}", f"{megabytes[-1]:.1f}", f"{megabytes.max():.1f}", f"{slope:+.2f}"))
    table(("memory, MB", "at first", "at the end", "most", "slope, MB a minute"), rows)


def print_runs(runs: Iterable[Run]) -> list[Run]:
    """Print a row for each run, as soon as it is there; returns the runs."""
    head = ("camera", "M events/s", "lost", "depths/s", "age, median", "age, p99", "error", "memory", "dropped")
    table(head, [])
    done = []
    for run in runs:
        p50, p99 = run.age_ms(50, 99)
        dropped = run.dropped | ({"not sent": run.unsent} if run.unsent else {})
        cells = (
            run.load.camera,
            f"{run.rate:g}",
            f"{run.lost_share:.1%}" if run.lost_events else "0",
            f"{run.depths_per_s:.1f}",
            f"{p50:.0f} ms" if run.ages_ms else "none",
            f"{p99:.0f} ms" if run.ages_ms else "none",
            f"{run.median_error:.3f}",
            f"{run.memory_gb:.2f} GB",
            ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in dropped.items() if n) or "nothing",
        )
        print_row(cells)
        done.append(run)
    return done


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    print_row(head)
    print("|" + "---|" * len(head))
    for row in rows:
        print_row(row)


def print_row(cells: tuple[str, ...]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)
