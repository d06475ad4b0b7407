"""`sweepdepth demo`"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .extras import require
from .interruption import until_interrupted
from .options import DebugOption, Encoding, EncodingOption, JsonOption
from .output import print_json, print_tables, progress_bar
from .view import PortOption, announce

_TITLES = {"net": "the network", "polarity": "the classical estimator"}


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the picture and the depth file.")] = Path(
        "demo-output"
    ),
    live: Annotated[bool, typer.Option("--view", help="Show it live in a browser instead, in a loop.")] = False,
    port: PortOption = 8080,
    encoding: EncodingOption = Encoding.NONE,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the bundled recording through the whole runtime, and compare its depth with the ground truth."""
    if live:
        require("view", "viser")
    from ..stream.demo import recording_path, run_demo

    if live:
        from ..stream.loop import published_loop
        from ..stream.view.viewer import view

        stop = until_interrupted()
        with published_loop(recording_path(), encoding=encoding.value) as address:
            view(address, stop, port=port, on_url=announce)
        raise typer.Exit(130)
    with progress_bar("demo", None, "s") as advance:
        shown = run_demo(out, advance, encoding.value)
    summary = shown.summary
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
                "metrics": {name: asdict(score) for name, score in shown.metrics.items()},
                "picture": str(shown.picture),
                "depth_file": str(shown.depth_file),
            }
        )
        return
    print_tables(
        {
            **{
                f"{_TITLES[name]} against the ground truth, at known pixels (mean over the sweeps)": {
                    "coverage": f"{100 * score.coverage:.0f} % of the pixels",
                    "median error": f"{100 * score.median_range:.1f} % of the sweep range ({score.median:.3f} 1/m)",
                    "mean error": f"{100 * score.mae_range:.1f} % of the sweep range ({score.mae:.3f} 1/m)",
                    "AbsRel": f"{score.abs_rel:.3f}",
                    "δ < 1.05, 1.15, 1.25": ", ".join(f"{d:.2f}" for d in score.delta),
                }
                for name, score in shown.metrics.items()
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
