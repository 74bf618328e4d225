"""LocalGPT: the private ChatGPT for one ordinary computer."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localgpt.pipeline import MultimodalPipeline

__all__ = ["MultimodalPipeline", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "MultimodalPipeline":  # loads torch, so only when it is asked for
        from localgpt.pipeline import MultimodalPipeline

        return MultimodalPipeline
    raise AttributeError(f"module 'localgpt' has no attribute {name!r}")
