"""Sends a recording as a dv-processing network stream: `network_peer.py EVENTS TRIGGERS RECORDING SHIFT_US [loop]`.

It runs in a separate process, since a `NetworkWriter` cannot be closed while a client is connected. It waits for a
client, sends the recording once in real time, with all times shifted by `SHIFT_US`, and stays connected; with `loop` it
repeats the sweeps with a continuing clock. TRIGGERS 0 means no triggers.
"""

import sys
import time
from collections.abc import Iterator

import dv_processing as dv
import numpy as np

from sweepdepth.capture.events import RISING, Batch
from sweepdepth.capture.recordings import open_recording
from sweepdepth.stream.loop import rounds

STEP_US = 10_000
KINDS = dv.TriggerType.EXTERNAL_SIGNAL_FALLING_EDGE, dv.TriggerType.EXTERNAL_SIGNAL_RISING_EDGE


def once(whole: Batch) -> Iterator[Batch]:
    """All events and triggers, in steps."""
    events, triggers = whole.events, whole.triggers
    for start_us in range(int(events["timestamp"][0]), int(events["timestamp"][-1]) + 1, STEP_US):
        end_us = start_us + STEP_US
        (i, j), (k, m) = (np.searchsorted(part["timestamp"], [start_us, end_us]) for part in (events, triggers))
        yield Batch(events[i:j], triggers[k:m], end_us)


def packed(batch: Batch, shift_us: int) -> tuple[dv.EventStore, "dv.TriggerPacket.TriggersVector"]:
    """A batch as the library sends it."""
    store, edges = dv.EventStore(), dv.TriggerPacket.TriggersVector()
    for t, x, y, p in batch.events.tolist():
        store.push_back(t + shift_us, x, y, bool(p))
    for t, edge, _ in batch.triggers.tolist():
        edges.append(dv.Trigger(t + shift_us, KINDS[edge == RISING]))
    # Like cameras, also send triggers that are no external edges.
    edges.append(dv.Trigger(batch.end_us - STEP_US + shift_us, dv.TriggerType.TIMESTAMP_RESET))
    return store, edges


def main() -> None:
    events_port, triggers_port, shift_us = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
    with open_recording(sys.argv[3]) as recording:
        size = recording.width, recording.height
        events, triggers = recording.read()
    writer = dv.io.NetworkWriter("127.0.0.1", events_port, dv.io.Stream.EventStream(0, "events", "synthetic", size))
    writers = [writer]
    if triggers_port:
        stream = dv.io.Stream.TriggerStream(1, "triggers", "synthetic")
        writers.append(dv.io.NetworkWriter("127.0.0.1", triggers_port, stream))
    whole = Batch(events, triggers, 0)
    if sys.argv[5:] == ["loop"]:
        steps = (packed(batch, shift_us) for batch in rounds(whole, STEP_US))
    else:
        steps = iter([packed(batch, shift_us) for batch in once(whole)])
    print("ready", flush=True)
    while not all(w.getClientCount() for w in writers):
        time.sleep(0.01)
    began = time.monotonic()
    for k, (store, edges) in enumerate(steps):
        time.sleep(max(0.0, began + k * STEP_US * 1e-6 - time.monotonic()))
        writer.writeEvents(store)
        if triggers_port:
            writers[1].writeTriggers(edges)
    time.sleep(600)


if __name__ == "__main__":
    main()
