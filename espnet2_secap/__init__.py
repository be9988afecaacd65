"""Speech emotion captioning on ESPnet: parts, tasks, scoring and reports."""

from espnet2_secap.lazy import import_when_used

__version__ = "0.1.0"

# ESPnet imports it with every task, for English phonemes. It then downloads tables, or waits for a network that a
# cluster's nodes may not have.
import_when_used("g2p_en")
