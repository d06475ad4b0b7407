"""`sweepdepth demo`"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, JsonOption
from .output import print_json, print_tables, progress_bar


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for picture and depth file.")] = Path("demo-output"),
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the bundled recording through the whole runtime, events in, depth out, and compare with the truth."""
    from ..stream.demo import run_demo

    with progress_bar("demo", None, "s") as advance:
        shown = run_demo(out, advance)
    summary, score = shown.summary, shown.metrics
    if as_json:
        print_json(
            {
                "frames_published": summary.n_frames,
                "frames_received": len(shown.received),
                "frames_lost": shown.lost,
                "events": summary.n_events,
                "seconds": summary.seconds,
                "latency_ms": {stage: {"p50": p.p50, "p99": p.p99} for stage, p in summary.latency_ms.items()},
                "wire_ms": shown.wire_ms,
                "metrics": asdict(score),
                "picture": str(shown.picture),
                "depth_file": str(shown.depth_file),
            }
        )
        return
    print_tables(
        {
            "depth against truth (mean over the sweeps, where the estimator answers)": {
                "coverage": f"{100 * score.coverage:.0f} % of the pixels",
                "median error": f"{100 * score.median_range:.1f} % of the sweep range ({score.median:.3f} 1/m)",
                "mean error": f"{100 * score.mae_range:.1f} % of the sweep range ({score.mae:.3f} 1/m)",
                "AbsRel": f"{score.abs_rel:.3f}",
                "δ < 1.05, 1.15, 1.25": ", ".join(f"{d:.2f}" for d in score.delta),
            },
            "runtime": {
                "events": f"{summary.n_events:,} in {summary.seconds:.2f} s",
                "frames": f"{summary.n_frames} published, {len(shown.received)} received, {shown.lost} lost",
                **{f"latency: {stage}": f"{p.p50:.1f} ms" for stage, p in summary.latency_ms.items()},
                "latency: wire": f"{shown.wire_ms:.2f} ms",
            },
            "written": {"picture": str(shown.picture), "depth": str(shown.depth_file)},
        }
    )
