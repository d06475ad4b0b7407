"""Constants of real event sensors by name, with sources.

|  | DAVIS346 | DVXplorer | EVK4 |
|---|---|---|---|
| contrast | ON 14.3 %, OFF 22.5 % [D] | 15 % [1, DVS-Gen3] | 25 %, nominal [P] |
| latency at 1000 lux on the chip | 20 µs [1] | 50 µs [1, DVS-Gen3] | 100 µs [P] |
| leak events per pixel | 0.1 Hz [1] | 0.03 Hz [1, DVS-Gen3] | 0.1 Hz [1, Gen4] |
| readout, events a second | 12 M [D] | 165 M [D] | 1060 M [P] |
| resolution of timestamps | 1 µs | 200 µs: 5000 scans a second, dv-processing's default | 1 µs |
| dynamic range below 100 klux | 120 dB [D] | 110 dB [D] | 120 dB [P] |

A contrast c is ln(1 + c) for ON and −ln(1 − c) for OFF; Prophesee states both relative to the darker level. The cutoff
follows from the latency: 1/(2π·latency) at 1000 lux on the chip. Through f/2, a white surface under 1000 lux gives 1000
/ (4·2²) ≈ 62 lux on the chip, and bandwidth is proportional to light: 500, 200 and 100 Hz. The dark level is the
darkest scene of the dynamic range, 0.1 or 0.3 lux, relative to 1000 lux.

Common to all: mismatch of 0.03 (v2e [2]; 0.021 was measured on the DVS128, Lichtsteiner et al. [3]); a reset of 0.5 ms
and shot noise far below leak in good light (v2e's command line); a delay with σ equal to the published typical latency;
veiling glare of 0.5 % of white, that of a good lens (ISO 9358) for a scene of middle grey. Hot pixels: four of 90 k
pixels at about 100 Hz were counted in E-MLB's recording demo-01, taken with a DAVIS346.

[D] iniVation's specifications of the cameras.  [P] Prophesee's brief of the IMX636.  [1] Gallego et al., Event-based
Vision: A Survey, TPAMI 2022, table 1.  [2] Hu et al., CVPRW 2021.  [3] JSSC 43(2), 2008.
"""

from math import log
from typing import Any

from . import Sensor

_GLARE = 0.005
_COMMON: dict[str, Any] = {
    "threshold_sigma": 0.03,
    "stray_light": _GLARE,
    "refractory_us": 500.0,
    "shot_noise_hz": 0.001,
    "hot_fraction": 4e-5,
    "hot_hz": 100.0,
}

PRESETS: dict[str, Sensor] = {
    "davis346": Sensor(
        on_threshold=log(1.143),
        off_threshold=-log(1 - 0.225),
        dark_level=1e-4,
        bandwidth_hz=500.0,
        leak_hz=0.1,
        delay_us=20.0,
        rate_limit_meps=12.0,
        **_COMMON,
    ),
    "dvxplorer": Sensor(
        on_threshold=log(1.15),
        off_threshold=-log(1 - 0.15),
        dark_level=3e-4,
        bandwidth_hz=200.0,
        leak_hz=0.03,
        delay_us=50.0,
        resolution_us=200,
        rate_limit_meps=165.0,
        **_COMMON,
    ),
    "evk4": Sensor(
        on_threshold=log(1.25),
        off_threshold=log(1.25),
        dark_level=1e-4,
        bandwidth_hz=100.0,
        leak_hz=0.1,
        delay_us=100.0,
        rate_limit_meps=1060.0,
        **_COMMON,
    ),
    # v2e's --dvs_params clean and noisy, for comparison.
    "clean": Sensor(on_threshold=0.2, off_threshold=0.2, threshold_sigma=0.02, stray_light=_GLARE),
    "noisy": Sensor(
        on_threshold=0.2,
        off_threshold=0.2,
        threshold_sigma=0.05,
        stray_light=_GLARE,
        bandwidth_hz=30.0,
        leak_hz=0.1,
        shot_noise_hz=5.0,
    ),
}
