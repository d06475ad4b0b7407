"""Common event sensors by name: resolution and pixel pitch, from their data sheets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownSensor:
    """Resolution and pixel pitch of a sensor."""

    width: int
    height: int
    pixel_pitch_um: float
    cameras: str  # cameras with this sensor


SENSORS: dict[str, KnownSensor] = {
    "davis346": KnownSensor(346, 260, 18.5, "iniVation DAVIS346"),
    "davis240": KnownSensor(240, 180, 18.5, "iniVation DAVIS240"),
    "dvxplorer": KnownSensor(640, 480, 9.0, "iniVation DVXplorer, DVXplorer Mini and Micro"),
    "dvxplorer-lite": KnownSensor(320, 240, 18.0, "iniVation DVXplorer Lite"),
    "dvs128": KnownSensor(128, 128, 40.0, "iniVation DVS128"),
    "gen3": KnownSensor(640, 480, 15.0, "Prophesee EVK1 and EVK3 with the VGA sensor"),
    "imx636": KnownSensor(1280, 720, 4.86, "Prophesee EVK4 and EVK3 HD, Sony IMX636"),
    "genx320": KnownSensor(320, 320, 6.3, "Prophesee GENX320"),
}
