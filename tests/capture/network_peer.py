"""Sends a recording as a dv-processing network stream: `python network_peer.py EVENTS TRIGGERS RECORDING SHIFT_US`.

In a process of its own, because a `NetworkWriter` cannot be ended while its client is there. It waits for a client,
sends the recording once at the pace of its clock, all times `SHIFT_US` later, and stays. TRIGGERS 0 is none.
"""

import sys
import time

import dv_processing as dv
import numpy as np

from sweepdepth.capture.events import RISING
from sweepdepth.capture.recordings import open_recording

STEP_US = 10_000


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
    kinds = dv.TriggerType.EXTERNAL_SIGNAL_FALLING_EDGE, dv.TriggerType.EXTERNAL_SIGNAL_RISING_EDGE
    packets = []
    for start_us in range(int(events["timestamp"][0]), int(events["timestamp"][-1]) + 1, STEP_US):
        store, edges = dv.EventStore(), dv.TriggerPacket.TriggersVector()
        i, j = np.searchsorted(events["timestamp"], [start_us, start_us + STEP_US])
        for t, x, y, p in events[i:j].tolist():
            store.push_back(t + shift_us, x, y, bool(p))
        i, j = np.searchsorted(triggers["timestamp"], [start_us, start_us + STEP_US])
        for t, edge in triggers[i:j].tolist():
            edges.append(dv.Trigger(t + shift_us, kinds[edge == RISING]))
        # As cameras do, tell of what is no external edge, too.
        edges.append(dv.Trigger(start_us + shift_us, dv.TriggerType.TIMESTAMP_RESET))
        packets.append((store, edges))
    print("ready", flush=True)
    while not all(w.getClientCount() for w in writers):
        time.sleep(0.01)
    began = time.monotonic()
    for k, (store, edges) in enumerate(packets):
        time.sleep(max(0.0, began + k * STEP_US * 1e-6 - time.monotonic()))
        writer.writeEvents(store)
        if triggers_port:
            writers[1].writeTriggers(edges)
    time.sleep(600)


if __name__ == "__main__":
    main()
