"""The door: what can be said to a request before its body is read.

A server that is asked ten times more than it can answer spends its processor on refusals unless they are
cheap, and on a small machine that processor is the model's too. So a full queue is told here, where nothing
has been read, parsed or routed yet. Where there are upstreams it cannot be: the body says who does the work,
and what another server does needs no place in the queue.
"""

from __future__ import annotations

import re

from fastapi import Request

from localgpt.errors import CapacityError
from localgpt.server.access import authenticate
from localgpt.server.metrics import Metrics
from localgpt.server.turns import Turns

__all__ = ["Door"]

_MODEL_WORK = re.compile(
    r"/v1/((chat/)?completions|responses|embeddings|vision/(describe|ask)"
    r"|images/(generations|edits|variations)|audio/(transcriptions|translations|speech))|/api/conversations/[^/]+/answer"
)


class Door:
    """Who asks, and whether there is room for model work.

    Args:
        turns: says whether the queue is full.
        metrics: counts who was refused.
        has_upstreams: other servers may be asked, whatever the queue here is like.
    """

    def __init__(self, turns: Turns, metrics: Metrics, *, has_upstreams: bool = False) -> None:
        self._turns = turns
        self._metrics = metrics
        self._has_upstreams = has_upstreams

    async def __call__(self, request: Request) -> None:
        """Let a request in.

        Raises:
            WireError: 401 or 403; see `access.authenticate`.
            CapacityError: the queue is full.
        """
        caller = await authenticate(request)
        if self._has_upstreams or not _MODEL_WORK.fullmatch(request.scope["path"]):
            return
        try:
            self._turns.refuse_when_full(caller.owner)
        except CapacityError:
            self._metrics.refused("queue_full")
            raise
