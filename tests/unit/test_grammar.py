"""Answers that a grammar decides: they fit, and they close within their budget, whatever the model wants."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import jsonschema_rs
import pytest
import torch

from localgpt.errors import InputError
from localgpt.media.text.tokenizer import Tokenizer
from localgpt.media.text.vocabulary import END_ID, FIRST_SPECIAL_ID, TOOL_CALL_ID, VOCAB_SIZE
from localgpt.sampling.grammar import Grammar, GrammarCompiler
from localgpt.sampling.schemas import CallForm
from localgpt.sampling.tokens import Choice, new_generator
from localgpt.tasks.options import SamplingOptions
from tests import babblers
from tests.law.source import package_modules

FREE = SamplingOptions(temperature=1.0, top_p=1.0, top_k=200)
GREEDY = SamplingOptions(temperature=0.0)
TWO_FIELDS = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(tokenizer)


def answer(
    grammar: Grammar,
    model: babblers.Babbler,
    budget: int,
    options: SamplingOptions = FREE,
    *,
    seed: int = 0,
    closes: bool = False,
) -> tuple[list[int], bool]:
    """Tokens of an answer, and whether the budget decided about any."""
    state, generator = grammar.start(), new_generator(seed)
    if closes:
        state.close()
    token_ids: list[int] = []
    while not state.is_over and len(token_ids) < budget:
        choice = Choice(options=options, generator=generator, seen=token_ids)
        token_id = state.choose(model(), choice, num_left=budget - len(token_ids))
        if token_id == END_ID:
            break
        token_ids.append(token_id)
    return token_ids, state.is_forced


def as_value(tokenizer: Tokenizer, token_ids: list[int], schema: dict[str, Any]) -> Any:
    """The JSON value of an answer that fits, written in the one form there is."""
    data = b"".join(tokenizer.piece(token_id) for token_id in token_ids)
    text = data.decode()  # whole characters only
    value = json.loads(text)
    jsonschema_rs.validator_for(schema).validate(value)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert not re.search(r"\s\s|[^,:]\s|[,:]\S|\s$", outside), outside
    return value


@pytest.mark.parametrize("kind", babblers.KINDS)
@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(4, 150))]
)
def test_any_schema_is_fitted_within_any_budget(
    compiler: GrammarCompiler, tokenizer: Tokenizer, kind: str, seed: int
) -> None:
    schema = babblers.make_schema(seed)
    grammar = compiler.json(json.dumps(schema))
    for extra, options in ((0, GREEDY), (7, FREE), (50, FREE)):
        model = babblers.make_babbler(tokenizer, kind, seed)
        budget = grammar.num_needed + extra
        token_ids, _ = answer(grammar, model, budget, options, seed=seed)
        assert len(token_ids) <= budget
        as_value(tokenizer, token_ids, schema)


@pytest.mark.parametrize("kind", babblers.KINDS)
def test_two_fields_always_close_within_80_tokens(
    compiler: GrammarCompiler, tokenizer: Tokenizer, kind: str
) -> None:
    grammar = compiler.json(json.dumps(TWO_FIELDS))
    for seed in range(3):
        token_ids, _ = answer(grammar, babblers.make_babbler(tokenizer, kind, seed), 80, seed=seed)
        value = as_value(tokenizer, token_ids, TWO_FIELDS)
        assert list(value) == ["name", "age"]


@pytest.mark.parametrize("kind", babblers.KINDS)
def test_any_object_closes_however_deep_the_model_goes(
    compiler: GrammarCompiler, tokenizer: Tokenizer, kind: str
) -> None:
    grammar = compiler.json(None)
    assert grammar.num_needed <= 2
    for budget in (2, 3, 50):
        token_ids, _ = answer(grammar, babblers.make_babbler(tokenizer, kind, budget), budget)
        assert isinstance(as_value(tokenizer, token_ids, {"type": "object"}), dict)


def test_a_model_that_closes_in_time_is_left_alone(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    wanted = tokenizer.encode('{"name": "Tom", "age": 89}')

    def says() -> torch.Tensor:
        logits = torch.zeros(VOCAB_SIZE)
        logits[place.pop(0)] = 50.0
        return logits

    place = [*wanted, END_ID]
    assert answer(compiler.json(json.dumps(TWO_FIELDS)), says, 80, GREEDY) == (wanted, False)
    place = [*wanted, END_ID]
    short = answer(compiler.json(json.dumps(TWO_FIELDS)), says, len(wanted) - 1, GREEDY)
    assert short != (wanted, False)
    as_value(tokenizer, short[0], TWO_FIELDS)


def test_penalties_leave_structure_alone(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    """Quotes and commas come again and again; if that made them unlikely, no list of texts would end."""
    schema = {"type": "object", "properties": {"l": {"type": "array", "items": {"enum": ["a", "b"]}}}}
    grammar = compiler.json(json.dumps(schema))
    state = grammar.start()
    logits = torch.zeros(VOCAB_SIZE)
    logits[tokenizer.encode('"')[0]] = 1.0
    logits[tokenizer.encode("a")[0]] = 1.0
    logits[tokenizer.encode("b")[0]] = 0.9
    options = SamplingOptions(temperature=0.0, frequency_penalty=2.0, repetition_penalty=2.0)
    seen: list[int] = []
    while len(seen) < 40 and tokenizer.decode(seen).count('"') < 8:
        choice = Choice(options=options, generator=new_generator(0), seen=seen)
        seen.append(state.choose(logits, choice, num_left=100))
    letters = re.findall(r'"([ab])"', tokenizer.decode(seen))
    assert letters[:2] == ["a", "b"]  # contents are penalised


@pytest.mark.parametrize(
    ("schema", "shortest"),
    [
        (TWO_FIELDS, {"name": "", "age": 0}),
        ({"enum": ["a rather long one", "b"]}, "b"),
        ({"anyOf": [{"type": "string", "minLength": 30}, {"type": "null"}]}, None),
        ({"type": "array", "minItems": 3, "items": {"type": "array"}}, [[], [], []]),
        ({"type": "integer", "minimum": 18}, 18),
        ({"type": "string", "pattern": r"^[^@]+@[a-z]+\.org$"}, "-@a.org"),
        ({"type": "string", "minLength": 9}, "---------"),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}, []),
    ],
)
def test_the_shortest_text_is_short(
    compiler: GrammarCompiler, tokenizer: Tokenizer, schema: dict[str, Any], shortest: Any
) -> None:
    grammar = compiler.json(json.dumps(schema))
    token_ids, _ = answer(grammar, lambda: torch.zeros(VOCAB_SIZE), grammar.num_needed, closes=True)
    assert len(token_ids) == grammar.num_needed
    value = as_value(tokenizer, token_ids, schema)
    assert len(json.dumps(value)) <= len(json.dumps(shortest))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ("no json", "no JSON"),
        ("[]", "expected an object"),
        (" " * 300_000, "at most"),
        ("[" * 100_000, "no JSON"),
        ('{"items": ' * 400 + "{}" + "}" * 400, "deeply|recursion|no text"),
        ('{"$ref": "#"}', "could not be followed"),
        ('{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}', "no text"),
        ('{"type": "array", "minItems": 100000, "items": {"type": "string"}}', "no text"),
        ('{"type": "wibble"}', "wibble"),
        ('{"not": {}}', "not"),
        ('{"$ref": "https://example.com/schema"}', "not present"),
        ('{"type": "string", "minLength": 3, "maxLength": 2}', "minLength"),
        ('{"type": "string", "minLength": 30, "pattern": "x"}', "no text that fits"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_reason(
    compiler: GrammarCompiler, schema: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        compiler.json(schema)
    assert caught.value.param == "response_format"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_grammar_is_compiled_once(compiler: GrammarCompiler) -> None:
    first = compiler.json('{"type": "object", "properties": {"k": {"type": "string"}}}')
    assert compiler.json('{"type":"object","properties":{"k":{"type":"string"}}}') is first
    for number in range(40):
        compiler.json(json.dumps({"const": number}))
    assert compiler.json('{"type": "object", "properties": {"k": {"type": "string"}}}') is not first


@pytest.mark.parametrize(
    ("schema", "is_closed"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, True),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": True}, False),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]}, False),
        ({"properties": {"a": {"type": "integer"}}, "allOf": [{"properties": {"b": {}}}]}, False),
    ],
)
def test_listed_properties_are_all_unless_the_schema_says_more(
    compiler: GrammarCompiler, tokenizer: Tokenizer, schema: dict[str, Any], is_closed: bool
) -> None:
    state = compiler.json(json.dumps(schema)).start()
    generator = new_generator(0)
    for token_id in tokenizer.encode('{"a": 1'):
        forced = torch.full((VOCAB_SIZE,), -50.0)
        forced[token_id] = 50.0
        choice = Choice(options=GREEDY, generator=generator)
        assert state.choose(forced, choice, num_left=200) == token_id
    comma = torch.zeros(VOCAB_SIZE)
    comma[tokenizer.encode(",")[0]] = 50.0
    chosen = state.choose(comma, Choice(options=GREEDY, generator=generator), num_left=200)
    assert (tokenizer.piece(chosen)[:1] != b",") == is_closed


def test_one_module_uses_the_library_and_loads_it_when_needed() -> None:
    """It costs 60 ms, which a cold `localgpt ask` shall not pay."""
    users = {
        module.where: module.tree for module in package_modules() if "llguidance" in imported(module.tree)
    }
    assert set(users) == {"src/localgpt/sampling/grammar.py"}
    for tree in users.values():
        at_once = ast.Module(
            [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
        )
        assert "llguidance" not in imported(at_once)


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


# Calls

WEATHER = CallForm(name="get_weather", parameters=json.dumps(TWO_FIELDS))
SEARCH = CallForm(
    name='搜索"x"',
    parameters='{"type": "object", "properties": {"q": {"$ref": "#/$defs/q"}}, "required": ["q"], '
    '"$defs": {"q": {"type": "string"}}}',
)


def calls_of(tokenizer: Tokenizer, token_ids: list[int]) -> list[dict[str, Any]]:
    text = tokenizer.decode(token_ids, keep_special=True)
    assert text.startswith("<|tool_call|>")
    return [json.loads(call) for call in text.split("<|tool_call|>")[1:]]


@pytest.mark.parametrize("kind", babblers.KINDS)
@pytest.mark.parametrize("parallel", [True, False])
def test_calls_are_whole_and_name_a_tool(
    compiler: GrammarCompiler, tokenizer: Tokenizer, kind: str, parallel: bool
) -> None:
    grammar = compiler.calls([WEATHER, SEARCH], parallel=parallel)
    for seed, extra in enumerate((0, 1, 5, 30, 100)):
        model = babblers.make_babbler(tokenizer, kind, seed)
        budget = grammar.num_needed + extra
        token_ids, _ = answer(grammar, model, budget, seed=seed)
        assert len(token_ids) <= budget
        calls = calls_of(tokenizer, token_ids)
        assert len(calls) == 1 or parallel
        for call in calls:
            form = next(form for form in (WEATHER, SEARCH) if form.name == call["name"])
            jsonschema_rs.validator_for(json.loads(form.parameters)).validate(call["arguments"])


def test_calls_or_json_is_the_models_choice(compiler: GrammarCompiler, tokenizer: Tokenizer) -> None:
    grammar = compiler.calls_or_json([WEATHER], json.dumps(TWO_FIELDS), parallel=False)
    for wish, is_call in ((TOOL_CALL_ID, True), (tokenizer.encode("{")[0], False)):
        logits = torch.zeros(VOCAB_SIZE)
        logits[wish] = 50.0
        token_ids, _ = answer(grammar, lambda logits=logits: logits, 120, GREEDY)
        assert (token_ids[0] == TOOL_CALL_ID) == is_call
        assert not [token_id for token_id in token_ids[1:] if token_id >= FIRST_SPECIAL_ID]


def test_tools_that_cannot_be_followed_name_their_field(compiler: GrammarCompiler) -> None:
    broken = CallForm(name="broken", parameters='{"type": "object", "properties": {"a": {"type": "x"}}}')
    with pytest.raises(InputError) as caught:
        compiler.calls([WEATHER, broken], parallel=True)
    assert caught.value.param == "tools"
    with pytest.raises(InputError) as caught:
        compiler.calls_or_json([WEATHER], '{"type": "x"}', parallel=True)
    assert caught.value.param == "response_format"
