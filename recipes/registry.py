"""The recipes by name, for `localgpt train`."""

from __future__ import annotations

from typing import Any

from recipes.common import Recipe, RunOptions

__all__ = ["RECIPES", "run_recipe"]


def _decoder(options: RunOptions) -> dict[str, Any]:
    from recipes.decoder import pretrain_decoder

    return pretrain_decoder(options)


def _encoder(options: RunOptions) -> dict[str, Any]:
    from recipes.encoder import pretrain_encoder

    return pretrain_encoder(options)


def _joint(options: RunOptions) -> dict[str, Any]:
    from recipes.joint import tune_jointly

    return tune_jointly(options)


def _speaker(options: RunOptions) -> dict[str, Any]:
    from recipes.speaker import train_speaker

    return train_speaker(options)


def _speaker_export(options: RunOptions) -> dict[str, Any]:
    from recipes.speaker_export import export_speaker

    return export_speaker(options)


def _export(options: RunOptions) -> dict[str, Any]:
    from recipes.export import export_weights

    return export_weights(options)


def _restore(options: RunOptions) -> dict[str, Any]:
    from recipes.restore import restore_weights

    return restore_weights(options)


def _painter(options: RunOptions) -> dict[str, Any]:
    from recipes.painter import train_painter

    return train_painter(options)


def _painter_export(options: RunOptions) -> dict[str, Any]:
    from recipes.painter_export import export_painter

    return export_painter(options)


def _upsampler(options: RunOptions) -> dict[str, Any]:
    from recipes.upsampler import train_upsampler

    return train_upsampler(options)


def _icon_judge(options: RunOptions) -> dict[str, Any]:
    from recipes.icon_judge import train_judge

    return train_judge(options)


def _listener(options: RunOptions) -> dict[str, Any]:
    from recipes.listener import train_listener

    return train_listener(options)


def _listener_real(options: RunOptions) -> dict[str, Any]:
    from recipes.listener import train_listener

    return train_listener(options, is_real=True)


def _listener_prune(options: RunOptions) -> dict[str, Any]:
    from recipes.listener_pruning import prune_listener

    return prune_listener(options)


def _listener_export(options: RunOptions) -> dict[str, Any]:
    from recipes.listener_export import export_listener

    return export_listener(options)


RECIPES: dict[str, Recipe] = {
    "decoder": _decoder,
    "encoder": _encoder,
    "joint": _joint,
    "speaker": _speaker,
    "speaker_export": _speaker_export,
    "export": _export,
    "restore": _restore,
    "painter": _painter,
    "painter_export": _painter_export,
    "upsampler": _upsampler,
    "icon_judge": _icon_judge,
    "listener": _listener,
    "listener_real": _listener_real,
    "listener_prune": _listener_prune,
    "listener_export": _listener_export,
}


def run_recipe(name: str, options: RunOptions) -> dict[str, Any]:
    """Run one recipe.

    Raises:
        KeyError: there is no recipe of that name.
    """
    return RECIPES[name](options)
