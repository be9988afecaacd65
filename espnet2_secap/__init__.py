"""Speech emotion captioning on ESPnet: parts, tasks, scoring and reports."""

__version__ = "0.1.0"
