"""Settings to a service that loads: the same one in the models' process and in the server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from localgpt.settings import PEAKS_FILE, Settings, data_folder

if TYPE_CHECKING:
    from localgpt.runtime.loading import LazyService

__all__ = ["SWITCH_INTERVAL_S", "build"]

# Python's default is 5 ms. The model's thread takes the interpreter back a few hundred times for every token,
# and would wait up to that long each time while the event loop beside it is busy.
SWITCH_INTERVAL_S: Final = 0.0005


def build(settings: Settings) -> LazyService:
    """Settle what to load where; loading begins with its `start`.

    Raises:
        ConfigError: the device or the model is unknown.
        CheckpointError: the model's folder is incomplete or no model.
    """
    from localgpt.runtime.holdings import MemoryOptions
    from localgpt.runtime.loading import LazyService, LoadOptions, plan_load
    from localgpt.runtime.remembering import CacheOptions

    options = LoadOptions(
        model=settings.model,
        device=settings.device,
        fp16=settings.fp16,
        cpu_kernel=settings.cpu_kernel == "auto",
        quantize=settings.quantize,
        fast=settings.fast,
        data_folder=data_folder(settings),
        max_batch_size=settings.max_batch_size,
        memory=MemoryOptions(
            budget_mib=settings.memory_budget_mib, peaks_file=data_folder(settings) / PEAKS_FILE
        ),
        cache=CacheOptions(prompt_mib=settings.prompt_cache_mib, keeps_answers=settings.use_cache),
    )
    return LazyService(plan_load(options))
