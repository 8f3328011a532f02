"""The precision in which a training step computes: bfloat16 where the processor has it, else float32,
which is faster than emulated bfloat16."""

from __future__ import annotations

import torch


def step_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA and on processors with AVX-512, else float32."""
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX")):
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """The context of a network's forward pass; does nothing where ``step_dtype`` is float32."""
    dtype = step_dtype(device)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
