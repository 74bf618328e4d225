"""How long a voice lets one wait: spoken turns in real time, from the last sound to the answer's first one.

    python benchmarks/voice_latency.py RECORDINGS [--turns 100] [--detection server_vad semantic_vad]
    python benchmarks/voice_latency.py RECORDINGS --url http://127.0.0.1:8000 [--model MODEL] [--calls 4]

RECORDINGS is a folder of recordings of speech, one sentence each. A turn is two of them with a pause of 200
to 450 ms between them, then silence; where its last sound is, is known from the samples. A client on this
machine sends 20 ms at a time when they are due, as a microphone does, and reads what comes back.

Printed for each kind of turn detection: (a) from the commit to the first sound of the answer, (b) from the
last sample of speech to it, both at the client, p50 and p95; false cut-ins, which are turns that were taken
for over before their last sound was sent, and count in neither; turns without an answer (nothing was
understood); and where the time goes, by the server's own seven times. The answer's first sound is its first
sample that is not silence. Without `--url` a server of this machine's models is started, and ended. Close
what else runs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.served import Served

RATE = 24_000
FRAME = RATE // 50
PAUSES_S = (0.20, 0.45)  # inside a turn
PATIENCE_S = 60.0
GRACE_S = 3.0  # after a turn that was cut off, for what is left of it
LOUD = 0.02  # of a recording's loudest sample: what is softer at its end is silence
HEARD = 200  # of 32,768: an answer's first sound is its first sample that is louder
STEPS = ("speech_ended", "listening", "heard", "first_token", "first_clause", "first_sound")

Samples = NDArray[np.int16]


@dataclass(slots=True)
class Turn:
    """What came of one turn; times are seconds of one clock."""

    is_cut: bool = False
    last_sample: float = 0.0  # was sent
    committed: float | None = None
    first_sound: float | None = None
    steps: dict[str, float | None] = field(default_factory=dict)  # the server's, ms from the commit

    @property
    def is_answered(self) -> bool:
        """Whether something was heard."""
        return self.first_sound is not None


def read_recordings(folder: Path) -> list[Samples]:
    """Recordings without the silence around them.

    Raises:
        SystemExit: there are none.
    """
    from localgpt.media.audio import decode_audio_bytes

    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".webm"):
            continue
        waveform = decode_audio_bytes(path.read_bytes(), RATE)
        loud = np.flatnonzero(np.abs(waveform) > LOUD * np.abs(waveform).max(initial=1e-6))
        if loud.size:
            found.append((waveform[loud[0] : loud[-1] + 1] * 32767).astype(np.int16))
    if not found:
        raise SystemExit(f"there is no recording in {folder}; give a folder of WAV, MP3, FLAC or Ogg files")
    return found


def make_turn(recordings: Sequence[Samples], rng: random.Random) -> Samples:
    """Two recordings and a pause: what one says in a turn; its last sample is speech."""
    pause = np.zeros(round(rng.uniform(*PAUSES_S) * RATE), dtype=np.int16)
    return np.concatenate([rng.choice(recordings), pause, rng.choice(recordings)])


class Microphone:
    """Sends sound when it is due; between turns, silence, as an open microphone does."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._queue: list[Samples] = []
        self.spoken_at: float | None = None  # when the last frame of the turn was sent

    def say(self, samples: Samples) -> None:
        """Begin a turn."""
        self.spoken_at = None
        self._queue = [samples[begin : begin + FRAME] for begin in range(0, len(samples), FRAME)]

    async def run(self) -> None:
        """Send, until cancelled."""
        due = time.perf_counter()
        noise = np.random.default_rng(0)
        while True:
            frame = noise.normal(0, 8, FRAME).astype(np.int16)  # a quiet room
            if self._queue:
                piece = self._queue.pop(0)
                frame[: len(piece)] += piece
            audio = base64.b64encode(frame.tobytes()).decode()
            await self._socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            if not self._queue and self.spoken_at is None:
                self.spoken_at = time.perf_counter()
            due += FRAME / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def take_turn(socket: ClientConnection, microphone: Microphone, samples: Samples) -> Turn:
    """Say one turn and wait for its answer."""
    turn = Turn()
    microphone.say(samples)
    num_open = 0  # commits whose answer, or the lack of one, has not been told
    while True:
        is_over = microphone.spoken_at is not None and turn.committed is not None and not num_open
        try:
            async with asyncio.timeout(GRACE_S if is_over and turn.is_cut else PATIENCE_S):
                event = json.loads(await socket.recv())
        except TimeoutError:
            if is_over:
                break  # the end of what was cut off was no turn of its own
            raise
        now = time.perf_counter()
        match event["type"]:
            case "error":
                raise SystemExit(f"the server says: {event['error']['message']}")
            case "input_audio_buffer.committed":
                turn.is_cut |= microphone.spoken_at is None
                turn.committed = now
                num_open += 1
            case "conversation.item.input_audio_transcription.completed" if not event["transcript"]:
                num_open -= 1
            case "response.output_audio.delta" if turn.first_sound is None:
                sound = np.frombuffer(base64.b64decode(event["delta"]), dtype="<i2")
                if np.abs(sound.astype(np.int32)).max(initial=0) > HEARD:
                    turn.first_sound = now
            case "response.done":
                turn.steps = event["response"]["localgpt"]["turn_ms"]
                num_open = max(0, num_open - 1)
        if microphone.spoken_at is not None and turn.committed and not num_open and not turn.is_cut:
            break
    turn.last_sample = microphone.spoken_at or time.perf_counter()
    return turn


async def call(args: argparse.Namespace, url: str, detection: str, number: int) -> list[Turn]:
    """The turns of one call."""
    rng = random.Random(f"{args.seed} {detection} {number}")
    recordings = read_recordings(args.recordings)
    options: dict[str, Any] = {"type": detection}
    if detection == "server_vad":
        options["silence_duration_ms"] = args.silence_ms
    session = {
        "instructions": args.instructions,
        "max_output_tokens": args.max_tokens,
        "audio": {"input": {"transcription": {}, "turn_detection": options}},
        "localgpt": {"listener": args.listener, "speaker": args.speaker},
    }
    turns = []
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?model={args.model}"
    headers = {"authorization": f"Bearer {args.key}"} if args.key else {}
    async with connect(address, proxy=None, compression=None, additional_headers=headers) as socket:
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        while (event := json.loads(await socket.recv()))["type"] != "session.updated":
            if event["type"] == "error":
                raise SystemExit(f"the server says: {event['error']['message']}")
        microphone = Microphone(socket)
        sending = asyncio.ensure_future(microphone.run())
        try:
            while len(turns) < args.turns // args.calls:
                turns.append(await take_turn(socket, microphone, make_turn(recordings, rng)))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return turns


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies; nan of none."""
    return float(np.percentile(values, 100 * share)) if values else float("nan")


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    """Figures of the turns of one kind of detection, in milliseconds."""
    good = [turn for turn in turns if turn.is_answered and not turn.is_cut]
    from_commit = [1000 * (turn.first_sound - turn.committed) for turn in good if turn.committed]  # type: ignore[operator]
    from_speech = [1000 * (turn.first_sound - turn.last_sample) for turn in good]  # type: ignore[operator]
    steps = {
        name: round(statistics.median(values), 1)
        for name in STEPS
        if (values := [turn.steps[name] for turn in good if turn.steps.get(name) is not None])
    }
    return {
        "turns": len(turns),
        "commit_to_sound_ms": [round(percentile(from_commit, share), 1) for share in (0.5, 0.95)],
        "last_sample_to_sound_ms": [round(percentile(from_speech, share), 1) for share in (0.5, 0.95)],
        "false_cut_ins": sum(turn.is_cut for turn in turns),
        "unanswered": sum(not turn.is_answered for turn in turns),
        "median_steps_ms_from_commit": steps,
    }


async def measure(args: argparse.Namespace, url: str) -> dict[str, Any]:
    """Figures of each kind of turn detection."""
    found = {}
    for detection in args.detection:
        calls = await asyncio.gather(*(call(args, url, detection, number) for number in range(args.calls)))
        found[detection] = summary([turn for turns in calls for turn in turns])
    return {"load": round(os.getloadavg()[0], 2), "calls": args.calls, "detection": found}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure a server that runs, or one that is started for it."""
    if args.url:
        return await measure(args, args.url.rstrip("/"))
    with tempfile.TemporaryDirectory() as folder:
        served = await asyncio.to_thread(Served, Path(folder), *args.serve)
        try:
            await served.ready()
            return await measure(args, served.url)
        finally:
            await asyncio.to_thread(served.stop)


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"calls at once: {found['calls']}, load average {found['load']}"]
    for detection, row in found["detection"].items():
        commit, speech = row["commit_to_sound_ms"], row["last_sample_to_sound_ms"]
        steps = ", ".join(f"{name} {ms:+.0f}" for name, ms in row["median_steps_ms_from_commit"].items())
        lines += [
            f"{detection}: {row['turns']} turns, {row['false_cut_ins']} cut off, "
            f"{row['unanswered']} unanswered",
            f"  commit to first sound       p50 {commit[0]:7.0f} ms   p95 {commit[1]:7.0f} ms",
            f"  last sample to first sound  p50 {speech[0]:7.0f} ms   p95 {speech[1]:7.0f} ms",
            f"  median ms from the commit: {steps or 'none'}",
        ]
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--url", help="of a server that runs")
    parser.add_argument("--key", help="of that server")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, default=[], help="its options")
    parser.add_argument("--model", default="local/multimodal-base")
    parser.add_argument("--listener")
    parser.add_argument("--speaker")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--calls", type=int, default=1, help="at once; they share the turns")
    parser.add_argument(
        "--detection",
        nargs="+",
        choices=("server_vad", "semantic_vad"),
        default=["server_vad", "semantic_vad"],
    )
    parser.add_argument("--silence-ms", type=int, default=500, help="that ends a turn, of server_vad")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--instructions", default="Answer in one short sentence.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    args = parse(arguments)
    found = asyncio.run(run(args))
    print(json.dumps(found) if args.json else table(found))


if __name__ == "__main__":
    main()
