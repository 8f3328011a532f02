"""The part of TensorRT's Python API that vidpipe uses, under either of its two names.

``tensorrt`` builds on the GPU that an engine is for; ``tensorrt_rtx`` (TensorRT for RTX) builds ahead of
time, without a GPU, and compiles on the user's. Their API is the same but for what is named here. Neither
ships types, so the classes below say what is called; a test holds them against the library.
"""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from typing import Any, Protocol

from pipeline.engines.engine_file import TrtLibrary
from pipeline.errors import MissingError

log = logging.getLogger(__name__)

EXTRA = {"tensorrt": "trt", "tensorrt_rtx": "rtx"}


class Context(Protocol):
    """``IExecutionContext``"""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class CudaEngine(Protocol):
    """``ICudaEngine``"""

    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def create_execution_context(self) -> Context | None: ...


class RtxEngine(CudaEngine, Protocol):
    """``ICudaEngine`` of tensorrt_rtx: kernels are compiled on this GPU, and kept in a runtime cache."""

    def create_runtime_config(self) -> Any: ...


class Runtime(Protocol):
    """``Runtime``"""

    engine_host_code_allowed: bool

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> CudaEngine | None: ...


class RtxRuntime(Runtime, Protocol):
    """``Runtime`` of tensorrt_rtx"""

    engine_header_size: int

    def get_engine_validity(self, buffer: bytes) -> tuple[Any, int]: ...


def is_installed(library: TrtLibrary) -> bool:
    return find_spec(library) is not None


def load(library: TrtLibrary) -> Any:
    """The module. Raises MissingError with what to install."""
    try:
        return importlib.import_module(library)
    except (ImportError, OSError, RuntimeError) as error:  # wheels without their shared objects, no driver
        raise MissingError(
            f"{library} cannot be loaded here ({error}); pip install 'vidpipe[{EXTRA[library]}]'"
        ) from error


def logger(trt: Any, heard: list[str]) -> Any:
    """A logger that keeps errors in ``heard`` and passes the rest on to ours."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of a module without types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                heard.append(text)
            log.debug("%s: %s", trt.__name__, text)

    return Logger()
