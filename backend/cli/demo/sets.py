"""The sets of samples that `samloop demo --sample` knows, by name."""

from backend.cli.demo.nuclei import NUCLEI
from backend.cli.demo.photographs import PHOTOGRAPHS
from backend.cli.demo.samples import SampleSet

SETS: dict[str, SampleSet] = {"nuclei": NUCLEI, "photographs": PHOTOGRAPHS}
