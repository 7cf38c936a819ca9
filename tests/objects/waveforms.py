"""A 12-lead electrocardiogram (PS3.3 A.34.3): 10 seconds at 500 Hz."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.uid import TwelveLeadECGWaveformStorage

from tests.objects.made import DATE, TIME, Object, code, data_set, item, write

SECONDS, HERTZ = 10, 500
_LEADS = {
    "I": 0.7,
    "II": 1.0,
    "III": 0.4,
    "aVR": -0.8,
    "aVL": 0.3,
    "aVF": 0.7,
    "V1": -0.5,
    "V2": 0.6,
    "V3": 0.9,
    "V4": 1.3,
    "V5": 1.1,
    "V6": 0.8,
}
_CODES = dict(zip(_LEADS, ("1", "2", "61", "62", "63", "64", "3", "4", "5", "6", "7", "8"), strict=True))
_MICROVOLTS = 5.0
_WAVES = ((0.20, 0.025, 0.15), (0.36, 0.010, -0.1), (0.38, 0.012, 1.0), (0.41, 0.012, -0.2), (0.62, 0.045, 0.3))
"""P, Q, R, S and T: when in a beat of one second, how wide, how high in millivolts."""


def objects(directory: Path) -> Iterator[Object]:
    name = "waveform/12-lead ecg"
    made = data_set(name, TwelveLeadECGWaveformStorage, "ECG")
    made.AcquisitionDateTime, made.AcquisitionContextSequence = DATE + TIME, []
    second = np.arange(SECONDS * HERTZ) / HERTZ % 1
    beat = sum(height * np.exp(-(((second - at) / width) ** 2)) for at, width, height in _WAVES)
    samples = np.round(np.outer(beat, list(_LEADS.values())) * 1000 / _MICROVOLTS).astype("<i2")
    group = item(
        WaveformOriginality="ORIGINAL",
        NumberOfWaveformChannels=len(_LEADS),
        NumberOfWaveformSamples=len(samples),
        SamplingFrequency=HERTZ,
        MultiplexGroupLabel="RHYTHM",
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
        ChannelDefinitionSequence=[
            item(
                ChannelSourceSequence=[code(f"2:{_CODES[lead]}", "MDC", f"Lead {lead}")],
                ChannelSensitivity=_MICROVOLTS,
                ChannelSensitivityUnitsSequence=[code("uV", "UCUM", "microvolt")],
                ChannelSensitivityCorrectionFactor=1,
                ChannelBaseline=0,
                ChannelSampleSkew="0",
                WaveformBitsStored=16,
            )
            for lead in _LEADS
        ],
    )
    group.WaveformData = samples.tobytes()
    group["WaveformData"].VR = "OW"
    made.WaveformSequence = [group]
    yield write(directory, name, made)
