"""The conformance checks in this process: the real service over a tiny random family, and the real store.

Checks that need a model that knows something are left to `benchmarks/conformance.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from benchmarks.conformance_checks.run import Outcome, all_checks, run_check, table
from benchmarks.conformance_checks.target import Check, Target
from localgpt.models.decoder import DecoderConfig
from localgpt.runtime.local import LocalService
from localgpt.server import create_app
from localgpt.server.store.opening import open_store
from localgpt.settings import Settings
from tests import tiny

KEY = "sk-of-this-test"
CHECKS = [check for check in all_checks() if not check.needs_sense]
# Room for a tool's schema: a tiny tokenizer writes it in many tokens.
DECODER = DecoderConfig(vocab_size=tiny.DECODER.vocab_size, n_layer=1, n_embd=32, n_head=4, context_len=2048)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """One server for all checks, so that the last one sees what the others sent."""
    settings = Settings(api_keys=(KEY,), data_dir=tmp_path_factory.mktemp("data"))
    family = tiny.make_family()
    family.decoder = tiny.make_decoder(config=DECODER)
    service = LocalService(family, max_batch_size=4)
    store = await open_store(settings)
    app = create_app(settings, service, store=store)
    target = Target.at("http://127.0.0.1:8000", key=KEY, transport=httpx2.ASGITransport(app))
    yield target
    await target.close()
    await service.close()
    await store.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.area}: {check.name}")
async def test_conformance(check: Check, target: Target) -> None:
    outcome = await run_check(check, target)
    assert outcome.reason is None, outcome.reason


async def test_a_failed_check_is_told() -> None:
    async def fail(target: Target) -> None:
        raise AssertionError("nobody answers")

    failed = await run_check(Check("chat", "an answer", fail), Target.at("http://127.0.0.1:9"))
    assert failed.reason == "AssertionError: nobody answers"
    passed = Outcome("chat", "another", None, 0.1)
    assert table([passed, failed]).splitlines() == [
        "chat           1 of   2 pass",
        "  FAIL an answer: AssertionError: nobody answers",
        "total          1 of   2 pass",
    ]


@pytest.mark.prove
@pytest.mark.weights
async def test_a_real_server_with_the_shipped_weights() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "conformance.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, "--spawn", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
