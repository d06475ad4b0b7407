"""Checks of the installation: runs each part briefly, and suggests a remedy for failures."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..capture.errors import SweepdepthError, one_line
from ..capture.findings import Finding

EXTRAS = {
    "formats": (("faery",), "what is left of AEDAT4 files that were cut short"),
    "ros": (("rosbags",), "bags of ROS 1 and 2"),
    "blender": (("bpy",), "`synth render` with Blender"),
    "train": (("torch", "lightning", "safetensors", "tensorboard"), "`train`, and the network in torch"),
    "openvino": (("openvino", "safetensors"), "the network, fast on CPUs and without torch"),
    "onnx": (("onnx", "onnxscript"), "`export` to ONNX"),
    "cluster": (("distributed",), "`synth render`"),
    "lens": (("serial",), "Optotune lens drivers"),
    "view": (("viser",), "`view`, `demo --view`"),
    "metrics": (("prometheus_client",), "`--metrics`"),
    "export": (("imageio_ffmpeg", "OpenEXR"), "MP4 and EXR"),
}
_LEAST_FREE_BYTES = 1 << 30


def examine() -> Iterator[Finding]:
    """Check one part after another, yielding each finding immediately."""
    yield _try("python", _python)
    for check, name in (
        (_recording, "recordings"),
        (_compiled, "compiled loops"),
        (_estimator, "depth"),
        (_wire, "wire"),
        (_keys, "keys"),
        (_cameras, "cameras"),
        (_disk, "disk"),
    ):
        yield _try(name, check)
    for extra, (modules, purpose) in EXTRAS.items():
        yield _extra(extra, modules, purpose)


def _try(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Exception as error:  # report any problem of the installation in one line
        message = str(error) if isinstance(error, SweepdepthError) else f"{type(error).__name__}: {one_line(error)}"
        return Finding(
            name, "failed", message, f"reinstall: pip install --force-reinstall sweepdepth=={version('sweepdepth')}"
        )


def _python() -> str:
    return (
        f"sweepdepth {version('sweepdepth')}, Python {platform.python_version()} in {sys.prefix}, {platform.platform()}"
    )


def _recording() -> str:
    """Read the bundled recording through the decoder process."""
    from ..capture.recordings import open_recording
    from .demo import recording_path

    with open_recording(recording_path()) as recording:
        events, triggers = recording.read()
    return f"{len(events):,} events and {len(triggers)} triggers read by a worker process"


def _compiled() -> str:
    from ..capture.stack.kernel import __file__ as kernel

    cache = Path(kernel).parent / "__pycache__"
    import numba

    return f"numba {numba.__version__}, its cache in {cache}"


def _estimator() -> str:
    """Compute depth of one sweep of the bundled recording by the default estimator."""
    from ..capture.recordings import open_recording
    from ..net.estimators import make_estimator
    from .demo import recording_path
    from .replay import replay
    from .run_options import Callbacks

    frames = []
    with open_recording(recording_path()) as recording:
        replay(recording, callbacks=Callbacks(on_frame=frames.append))
    known = float(np.mean([np.isfinite(frame.depth).mean() for frame in frames]))
    return f"{make_estimator(None).name}: {len(frames)} frames, {100 * known:.0f} % of their pixels known"


def _wire() -> str:
    from .wire.messages import StatusFrame
    from .wire.publisher import Publisher
    from .wire.subscriber import Subscriber

    with Publisher("tcp://127.0.0.1:*") as publisher, Subscriber(publisher.address, timeout=20) as subscriber:
        if not publisher.wait_for_subscribers(1, timeout=20):
            raise SweepdepthError("no connection to 127.0.0.1: is loopback up, or does a firewall block it?")
        publisher.publish(StatusFrame(0.0, 0.0))
        if subscriber.receive(20) is None:
            raise SweepdepthError("no message arrived over 127.0.0.1 within 20 s")
    return "a message was sent over TCP on 127.0.0.1"


def _keys() -> str:
    import zmq

    from .wire.keys import load_key_pair, new_keys

    if not zmq.has("curve"):
        raise SweepdepthError("this ZeroMQ has no CURVE: streams cannot leave this machine; pip install pyzmq")
    with tempfile.TemporaryDirectory() as folder:
        load_key_pair(new_keys("doctor", folder)[1])
    return f"ZeroMQ {zmq.zmq_version()} with CURVE"


def _cameras() -> str:
    import dv_processing

    return f"dv-processing {dv_processing.__version__}; `sweepdepth cameras` lists what is plugged in"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    if free < _LEAST_FREE_BYTES:
        raise SweepdepthError(f"only {free / 1e9:.1f} GB are free in {Path.cwd()}")
    return f"{free / 1e9:.0f} GB are free in {Path.cwd()}"


def _extra(extra: str, modules: tuple[str, ...], purpose: str) -> Finding:
    name = f"extra {extra}"
    install = f"pip install 'sweepdepth[{extra}]'"
    found = []
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError:
            return Finding(name, "missing", f"{module} is not installed; it is for {purpose}", install)
        except Exception as error:  # incompatible libraries raise various exceptions
            return Finding(name, "failed", f"{module} is installed but cannot start: {one_line(error)}", install)
        found.append(f"{module} {_version(module)}".strip())
    return Finding(name, "ok", f"{', '.join(found)}: {purpose}")


def _version(module: str) -> str:
    names = {"serial": "pyserial", "prometheus_client": "prometheus-client", "imageio_ffmpeg": "imageio-ffmpeg"}
    try:
        return version(names.get(module, module))
    except PackageNotFoundError:
        return ""
