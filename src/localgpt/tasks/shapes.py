"""Results as the plain values that Python, the command line and the vision routes give out: stable shapes."""

from __future__ import annotations

from typing import Any

from localgpt.tasks.media import DetectResult, ListenResult

__all__ = ["objects_of", "transcript_of"]


def objects_of(result: DetectResult) -> dict[str, Any]:
    """{"objects": [{"label", "score", "box_xyxy"}]}, surest first, in pixels."""
    return {
        "objects": [
            {
                "label": found.label,
                "score": round(found.score, 4),
                "box_xyxy": [round(side, 2) for side in found.box_xyxy],
            }
            for found in result.objects
        ]
    }


def transcript_of(result: ListenResult, *, with_words: bool = False) -> dict[str, Any]:
    """{"text", "language", "segments"}, and "words" where they are wanted; times in seconds."""
    transcript: dict[str, Any] = {
        "text": result.text,
        "language": result.language,
        "segments": [
            {
                "start": round(segment.start_s, 3),
                "end": round(segment.end_s, 3),
                "text": segment.text,
                "avg_logprob": round(segment.avg_logprob, 4),
                "no_speech_prob": round(segment.no_speech_prob, 4),
            }
            for segment in result.segments
        ],
    }
    if with_words:
        transcript["words"] = [
            {"start": round(word.start_s, 3), "end": round(word.end_s, 3), "word": word.text}
            for word in result.words
        ]
    return transcript
