"""The sets of samples that `samloop demo --sample` knows, by name."""

from typing import Literal

from backend.cli.demo.nuclei import NUCLEI
from backend.cli.demo.photographs import PHOTOGRAPHS
from backend.cli.demo.samples import SampleSet

SampleName = Literal["nuclei", "photographs"]
SETS: dict[SampleName, SampleSet] = {"nuclei": NUCLEI, "photographs": PHOTOGRAPHS}
