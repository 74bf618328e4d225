"""The images routes: what paints here answers; where nothing does, that is said with 501."""

from __future__ import annotations

import base64

from benchmarks.conformance_checks.target import Target, check, expect, picture_url, refused

GENERATIONS = "/v1/images/generations"


@check("pictures", "a text is painted with every parameter, or 501 says what is missing")
async def texts(target: Target) -> None:
    body = {
        "prompt": "a red apple",
        "model": "gpt-image-1",
        "n": 1,
        "size": "auto",
        "quality": "low",
        "background": "opaque",
        "output_format": "jpeg",
        "output_compression": 90,
        "moderation": "auto",
        "response_format": "b64_json",
        "user": "conformance",
        "safety_identifier": "conformance",
        "seed": 1,
        **dict.fromkeys(("style", "svg", "complexity", "frame_count", "frame_duration_ms")),
    }
    reply = await target.http.post(GENERATIONS, json=body)
    if reply.status_code == 501:
        expect(reply.json()["error"]["message"], "it does not say what is missing")
        expect(reply.headers.get("x-should-retry") == "false", "clients would ask again")
    else:
        expect(reply.status_code == 200, f"{GENERATIONS} gave {reply.status_code}: {reply.text[:200]}")
        data = base64.b64decode(reply.json()["data"][0]["b64_json"])
        expect(data.startswith(b"\xff\xd8\xff"), "the picture is no JPEG")
    stream = {"prompt": "a red apple", "stream": True, "partial_images": 2}
    events = await target.http.post(GENERATIONS, json=stream)
    if events.status_code != 501:
        kinds = [line for line in events.text.splitlines() if line.startswith("event: ")]
        wanted = ["event: image_generation.partial_image"] * 2 + ["event: image_generation.completed"]
        expect(kinds == wanted, f"got {kinds}")


@check("pictures", "a picture is painted over and varied, or 501 says what is missing")
async def pictures(target: Target) -> None:
    data = base64.b64decode(picture_url().partition(",")[2])
    for path, fields in (("/v1/images/edits", {"prompt": "a red apple"}), ("/v1/images/variations", {})):
        files = {"image": ("picture.png", data, "image/png")}
        reply = await target.http.post(path, data=fields, files=files)
        expect(reply.status_code in (200, 501), f"{path} gave {reply.status_code}: {reply.text[:200]}")


@check("pictures", "what is not done with pictures is refused by name")
async def refusals(target: Target) -> None:
    for name, value in (
        ("background", "transparent"),
        ("response_format", "url"),
        ("moderation", "low"),
        ("style", "vivid"),
        ("size", "513x777"),
        ("n", 100),
        ("partial_images", 2),
    ):
        await refused(target, GENERATIONS, {"prompt": "a red apple", name: value}, name)
