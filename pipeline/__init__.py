"""The runtime: typed stages from a decoder to an encoder. See ARCHITECTURE.md."""
