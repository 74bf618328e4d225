"""Settings to a service that loads: the same one in the models' process and in the server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from localgpt.settings import PEAKS_FILE, Settings, data_folder

if TYPE_CHECKING:
    from pathlib import Path

    from localgpt.runtime.loading import LazyService, LoadOptions

__all__ = ["SWITCH_INTERVAL_S", "build", "load_options"]

# Python's default is 5 ms. The model's thread takes the interpreter back a few hundred times for every token,
# and would wait up to that long each time while the event loop beside it is busy.
SWITCH_INTERVAL_S: Final = 0.0005


def build(settings: Settings) -> LazyService:
    """Settle what to load where; loading begins with its `start`.

    Raises:
        ConfigError: the device or the model is unknown.
        CheckpointError: the model's folder is incomplete or no model.
    """
    from localgpt.runtime.loading import LazyService, plan_load

    peaks_file = data_folder(settings) / PEAKS_FILE
    return LazyService(plan_load(load_options(settings, peaks_file=peaks_file)))


def load_options(
    settings: Settings, *, peaks_file: Path | None = None, answers_folder: Path | None = None
) -> LoadOptions:
    """What the settings say of loading.

    Args:
        settings: of the process.
        peaks_file: where what work took is remembered; None forgets it.
        answers_folder: where answers are kept, if the settings ask for that; None keeps them in memory.
    """
    from localgpt.media.provenance.label import KEY_FILE
    from localgpt.runtime.finishing import PictureOptions
    from localgpt.runtime.holdings import MemoryOptions
    from localgpt.runtime.loading import LoadOptions
    from localgpt.runtime.remembering import CacheOptions

    return LoadOptions(
        model=settings.model,
        device=settings.device,
        fp16=settings.fp16,
        cpu_kernel=settings.cpu_kernel == "auto",
        quantize=settings.quantize,
        fast=settings.fast,
        data_folder=data_folder(settings),
        max_batch_size=settings.max_batch_size,
        memory=MemoryOptions(budget_mib=settings.memory_budget_mib, peaks_file=peaks_file),
        cache=CacheOptions(
            prompt_mib=settings.prompt_cache_mib,
            keeps_answers=settings.use_cache,
            answers_folder=answers_folder,
        ),
        pictures=PictureOptions(
            filter=settings.picture_filter,
            words_file=settings.picture_filter_words,
            has_labels=settings.picture_labels,
            producer=settings.picture_producer,
            key_file=data_folder(settings) / KEY_FILE,
        ),
    )
