"""What was said as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from localgpt.tasks.media import ListenResult

__all__ = ["as_srt", "as_vtt"]


def as_srt(result: ListenResult) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{_time(segment.start_s, ',')} --> {_time(segment.end_s, ',')}\n{_line(segment.text)}\n"
        for number, segment in enumerate(result.segments, 1)
    )


def as_vtt(result: ListenResult) -> str:
    """WebVTT."""
    cues = [
        f"{_time(segment.start_s, '.')} --> {_time(segment.end_s, '.')}\n{_cue(segment.text)}\n"
        for segment in result.segments
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def _line(text: str) -> str:
    """A text that neither ends its cue nor looks like a cue's times."""
    return " ".join(text.split()).replace("-->", "->")


def _cue(text: str) -> str:
    """The same for WebVTT, where `<` and `&` begin tags and escapes."""
    return _line(text).replace("&", "&amp;").replace("<", "&lt;")
