"""The runtime: typed stages from a decoder to an encoder. See ARCHITECTURE.md."""

from pipeline import telemetry

telemetry.switch_off()
