#!/usr/bin/env python3
"""Talks to `qround serve` on the pocket model with the official `openai` package: every case is one use of the API.

    pip install openai
    python3 oracle/server_openai.py

Prints a line per case and exits with 1 when one fails. Without the package it says so and exits with 77 (skipped).
"""
import json
import sys
import threading
import time
import traceback

try:
    import openai
except ImportError:
    print("SKIPPED: the Python package `openai` is not installed")
    sys.exit(77)

from server_process import running_server

CASES = []
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather in a city today.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
FIND = {"type": "function", "function": {
    "name": "find_thing", "description": "Where a thing is kept.",
    "parameters": {"type": "object", "properties": {"thing": {"type": "string"}, "owner": {"type": "string"}},
                   "required": ["thing"]}}}
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
ROME = [{"role": "user", "content": "What is the weather in Rome?"}]
# The pocket model thinks about this one with some seeds.
FROG = [{"role": "user", "content": "What does the frog say?"}]
SUM = [{"role": "user", "content": "What is 7 plus 5?"}]


def case(function):
    CASES.append(function)
    return function


class Context:
    def __init__(self, address):
        self.address = address
        self.client = openai.OpenAI(base_url=address + "/v1", api_key="none", max_retries=0, timeout=60)

    def chat(self, messages=SUM, thinking=False, **options):
        options.setdefault("temperature", 0)
        body = dict(options.pop("extra_body", {}))
        if not thinking:
            body.update(NO_THINKING)
        return self.client.chat.completions.create(model="pocket", messages=messages, extra_body=body, **options)

    def text(self, prompt="Q: What is 7 plus 5?\nA:", **options):
        options.setdefault("temperature", 0)
        return self.client.completions.create(model="pocket", prompt=prompt, **options)


def refused(status, call, param=None):
    try:
        call()
    except openai.APIStatusError as error:
        assert error.status_code == status, error
        assert error.body["message"] and error.body["type"], error.body
        if param is not None:
            assert error.body["param"] == param, error.body
        return error
    raise AssertionError("not refused")


# Models

@case
def models_are_listed(c):
    assert [m.id for m in c.client.models.list()] == ["pocket"]


@case
def a_model_is_described(c):
    assert c.client.models.retrieve("pocket").owned_by == "qround"


@case
def an_unknown_model_is_not_found(c):
    assert refused(404, lambda: c.client.models.retrieve("nope")).code == "model_not_found"


@case
def a_chat_with_an_unknown_model_is_not_found(c):
    refused(404, lambda: c.client.chat.completions.create(model="nope", messages=SUM), "model")


# Chat

@case
def a_chat_is_answered(c):
    answer = c.chat()
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert "12" in answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop"


@case
def usage_adds_up(c):
    usage = c.chat().usage
    assert usage.prompt_tokens > 5 and usage.completion_tokens > 1
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@case
def greedy_answers_repeat(c):
    assert c.chat().choices[0].message.content == c.chat().choices[0].message.content


@case
def reasoning_is_apart(c):
    message = c.chat(FROG, thinking=True, temperature=0.8, seed=1, max_tokens=200).choices[0].message
    assert message.reasoning_content and message.reasoning == message.reasoning_content
    assert "think>" not in message.reasoning_content + (message.content or "")


@case
def reasoning_can_be_given_back(c):
    messages = SUM + [{"role": "assistant", "content": "12", "reasoning_content": "7 + 5"},
                      {"role": "user", "content": "What is 2 plus 2?"}]
    assert c.chat(messages).choices[0].message.content


@case
def a_stream_says_the_same(c):
    whole = c.chat().choices[0].message.content
    chunks = list(c.chat(stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(x.choices[0].delta.content or "" for x in chunks) == whole
    assert chunks[-1].choices[0].finish_reason == "stop"


@case
def a_stream_tells_its_usage(c):
    chunks = list(c.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 1
    assert all(chunk.usage is None for chunk in chunks[:-1])


@case
def a_stream_of_reasoning(c):
    whole = c.chat(FROG, thinking=True, temperature=0.8, seed=1, max_tokens=200).choices[0].message
    reasoning = content = ""
    for chunk in c.chat(FROG, thinking=True, temperature=0.8, seed=1, max_tokens=200, stream=True):
        delta = chunk.choices[0].delta
        reasoning += getattr(delta, "reasoning_content", None) or ""
        content += delta.content or ""
    assert reasoning == whole.reasoning_content and content == (whole.content or "")


@case
def text_parts_are_joined(c):
    parts = [{"type": "text", "text": "What is 7 "}, {"type": "text", "text": "plus 5?"}]
    assert c.chat([{"role": "user", "content": parts}]).choices[0].message.content == c.chat().choices[0].message.content


@case
def an_image_is_refused_by_name(c):
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    refused(400, lambda: c.chat([{"role": "user", "content": parts}]), "messages[0].content[0].type")


@case
def system_and_developer_messages(c):
    for role in ("system", "developer"):
        assert c.chat([{"role": role, "content": "You are a helpful assistant."}] + SUM).choices[0].message.content


@case
def max_tokens_cuts(c):
    answer = c.chat(max_tokens=2)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 2


@case
def max_completion_tokens_cuts(c):
    assert c.chat(max_completion_tokens=3).usage.completion_tokens == 3


@case
def a_huge_max_tokens_does_no_harm(c):
    assert c.chat(max_tokens=2**53).choices[0].finish_reason == "stop"


@case
def a_stop_string_ends_the_text(c):
    whole = c.chat().choices[0].message.content
    word = whole.split()[1]
    cut = c.chat(stop=word).choices[0]
    assert cut.message.content == whole[:whole.index(word)] and cut.finish_reason == "stop", (whole, cut)


@case
def the_first_of_several_stops_counts(c):
    whole = c.chat().choices[0].message.content
    assert c.chat(stop=["zzz", whole[5:8], whole[2:4]]).choices[0].message.content == whole[:2]


@case
def a_stop_works_in_a_stream(c):
    whole = c.chat().choices[0].message.content
    pieces = [x.choices[0].delta.content or "" for x in c.chat(stop=whole[4:6], stream=True)]
    assert "".join(pieces) == whole[:4]


@case
def a_seed_repeats(c):
    def ask(seed):
        return c.chat([{"role": "user", "content": "Tell me a story."}], temperature=1.2, seed=seed, max_tokens=40)
    assert ask(3).choices[0].message.content == ask(3).choices[0].message.content
    assert len({ask(seed).choices[0].message.content for seed in range(6)}) > 1


@case
def several_choices(c):
    answer = c.chat([{"role": "user", "content": "Tell me a story."}], n=3, temperature=1, seed=1, max_tokens=30)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


@case
def several_choices_in_a_stream(c):
    texts = {0: "", 1: ""}
    ended = set()
    for chunk in c.chat(n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ended.add(choice.index)
    assert texts[0] == texts[1] == c.chat().choices[0].message.content and ended == {0, 1}


@case
def log_probabilities(c):
    content = c.chat(logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in content).decode() == c.chat().choices[0].message.content
    for token in content:
        assert len(token.top_logprobs) == 3 and token.logprob <= 0
        assert token.top_logprobs[0].token == token.token


@case
def log_probabilities_in_a_stream(c):
    whole = c.chat(logprobs=True).choices[0].logprobs.content
    tokens = []
    for chunk in c.chat(logprobs=True, stream=True):
        if chunk.choices[0].logprobs:
            tokens += chunk.choices[0].logprobs.content
    assert [t.token for t in tokens] == [t.token for t in whole]


@case
def a_logit_bias_forbids_a_token(c):
    first = c.chat(logprobs=True).choices[0].logprobs.content[0]
    ids = c.client.post(c.address + "/tokenize", cast_to=object, body={"prompt": first.token})["tokens"]
    other = c.chat(logprobs=True, logit_bias={str(ids[0]): -100}).choices[0].logprobs.content[0]
    assert other.token != first.token


@case
def penalties_are_taken(c):
    assert c.chat(presence_penalty=1, frequency_penalty=1, extra_body={"repetition_penalty": 1.1}).choices[0].message.content


@case
def other_samplers_are_taken(c):
    assert c.chat(temperature=0.8, top_p=0.9, extra_body={"top_k": 5, "min_p": 0.05}, seed=1).choices[0].message.content


# Tools

@case
def a_tool_is_called(c):
    choice = c.chat(ROME, tools=[WEATHER]).choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert call.function.name == "get_weather" and set(json.loads(call.function.arguments)) == {"city"}
    assert call.id and call.type == "function"


@case
def a_tool_is_called_in_a_stream(c):
    name = arguments = ""
    for chunk in c.chat(ROME, tools=[WEATHER, FIND], stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "get_weather" and set(json.loads(arguments)) == {"city"}
    assert chunk.choices[0].finish_reason == "tool_calls"


@case
def a_result_given_back_gives_the_answer(c):
    first = c.chat(ROME, tools=[WEATHER]).choices[0].message
    call = first.tool_calls[0]
    messages = ROME + [first.model_dump(exclude_none=True),
                       {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "sunny", "degrees": 21}'}]
    answer = c.chat(messages, tools=[WEATHER]).choices[0]
    assert "sunny" in answer.message.content and "21" in answer.message.content, answer


@case
def tool_choice_none(c):
    choice = c.chat(ROME, tools=[WEATHER], tool_choice="none", max_tokens=40).choices[0]
    assert not choice.message.tool_calls and choice.finish_reason != "tool_calls"


@case
def tool_choice_required(c):
    choice = c.chat(SUM, tools=[WEATHER, FIND], tool_choice="required", max_tokens=100).choices[0]
    assert choice.message.tool_calls and choice.finish_reason == "tool_calls", choice


@case
def tool_choice_named(c):
    chosen = {"type": "function", "function": {"name": "find_thing"}}
    choice = c.chat([{"role": "user", "content": "Where is the spoon of Sam?"}], tools=[WEATHER, FIND],
                    tool_choice=chosen, max_tokens=100).choices[0]
    assert choice.message.tool_calls[0].function.name == "find_thing" and choice.finish_reason == "stop", choice


@case
def one_call_when_parallel_calls_are_off(c):
    assert len(c.chat(ROME, tools=[WEATHER], parallel_tool_calls=False).choices[0].message.tool_calls) == 1


@case
def an_unknown_tool_choice_is_refused(c):
    chosen = {"type": "function", "function": {"name": "nope"}}
    refused(400, lambda: c.chat(ROME, tools=[WEATHER], tool_choice=chosen), "tool_choice")


# JSON

@case
def a_json_object(c):
    answer = c.chat(response_format={"type": "json_object"}, max_tokens=200, temperature=1, seed=4).choices[0]
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content), dict)


@case
def a_json_schema(c):
    schema = {"type": "object", "properties": {"result": {"type": "integer"}, "sure": {"type": "boolean"},
                                               "unit": {"enum": ["none", "metres"]}},
              "required": ["result", "sure", "unit"], "additionalProperties": False}
    answer = c.chat(response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}},
                    max_tokens=200).choices[0]
    value = json.loads(answer.message.content)
    assert set(value) == {"result", "sure", "unit"} and isinstance(value["result"], int) and answer.finish_reason == "stop"


@case
def a_json_schema_after_reasoning(c):
    schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]}
    answer = c.chat(FROG, thinking=True, temperature=0.8, seed=1, max_tokens=400,
                    response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}).choices[0]
    assert answer.message.reasoning_content
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(answer.message.content)["yes"], bool)


@case
def an_unsupported_schema_is_refused_by_name(c):
    schema = {"type": "string", "pattern": "^a+$"}
    error = refused(400, lambda: c.chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}),
                    "response_format")
    assert "pattern" in error.body["message"]


@case
def a_schema_without_end_is_refused(c):
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    refused(400, lambda: c.chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))


# Completions

@case
def a_completion(c):
    answer = c.text(max_tokens=12)
    assert answer.object == "text_completion" and "12" in answer.choices[0].text, answer


@case
def a_completion_with_echo(c):
    assert c.text("abc", echo=True, max_tokens=3).choices[0].text.startswith("abc")


@case
def several_prompts(c):
    both = c.text(["Q: What is 7 plus 5?\nA:", "Count from 1 to"], max_tokens=8)
    assert [x.text for x in both.choices] == [c.text(max_tokens=8).choices[0].text,
                                              c.text("Count from 1 to", max_tokens=8).choices[0].text]


@case
def a_prompt_of_tokens(c):
    ids = c.client.post(c.address + "/tokenize", cast_to=object, body={"prompt": "Count from 1 to"})["tokens"]
    assert c.text(ids, max_tokens=8).choices[0].text == c.text("Count from 1 to", max_tokens=8).choices[0].text


@case
def a_completion_in_a_stream(c):
    chunks = list(c.text(max_tokens=8, stream=True))
    assert "".join(x.choices[0].text for x in chunks) == c.text(max_tokens=8).choices[0].text
    assert chunks[-1].choices[0].finish_reason


@case
def log_probabilities_of_a_completion(c):
    logprobs = c.text(max_tokens=5, logprobs=2).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == len(logprobs.text_offset)
    assert all(value <= 0 for value in logprobs.token_logprobs)


# Errors and ends

@case
def wrong_types_name_their_parameter(c):
    refused(400, lambda: c.chat(temperature="hot"), "temperature")
    refused(400, lambda: c.chat(n=10**9), "n")
    refused(400, lambda: c.chat(stop=["a"] * 100_000), "stop")
    refused(400, lambda: c.chat([]), "messages")
    refused(400, lambda: c.chat([{"role": "king", "content": "x"}]), "messages[0].role")


@case
def a_prompt_beyond_the_context_is_refused(c):
    error = refused(400, lambda: c.chat([{"role": "user", "content": "word " * 20_000}]))
    assert error.code == "context_length_exceeded"


@case
def unknown_parameters_are_ignored(c):
    assert c.chat(extra_body={"frobnicate": {"a": [1]}}).choices[0].message.content


@case
def endpoints_to_come_are_not_found(c):
    refused(404, lambda: c.client.responses.create(model="pocket", input="Hi"))


@case
def a_stream_that_is_left_is_cancelled(c):
    def cancelled():
        text = c.client.get(c.address + "/metrics", cast_to=str)
        return float(text.split("\nqround_engine_cancelled_total ")[1].split()[0])
    before = cancelled()
    with c.chat([{"role": "user", "content": "Tell me a story."}], stream=True, temperature=1, seed=2,
                max_tokens=100_000, extra_body={"ignore_eos": True}) as stream:
        for _ in zip(range(5), stream):
            pass
    for _ in range(100):
        if cancelled() > before:
            return
        time.sleep(0.05)
    raise AssertionError("still running")


@case
def many_at_once_answer_as_alone(c):
    alone = c.chat().choices[0].message.content
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(c.chat().choices[0].message.content)) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [alone] * 24


def main():
    failed = 0
    with running_server() as (address, process):
        context = Context(address)
        for function in CASES:
            try:
                function(context)
                print("ok    ", function.__name__)
            except Exception:  # a failed case must not hide the others
                failed += 1
                print("FAILED", function.__name__)
                traceback.print_exc()
    with running_server("--api-key", "secret") as (address, process):
        for key, status in (("secret", 200), ("wrong", 401)):
            client = openai.OpenAI(base_url=address + "/v1", api_key=key, max_retries=0)
            try:
                client.models.list()
                got = 200
            except openai.AuthenticationError:
                got = 401
            failed += got != status
            print("ok    " if got == status else "FAILED", "key", key)
    print(f"{len(CASES) + 2 - failed} of {len(CASES) + 2} cases passed; exit status of the server: {process.returncode}")
    return 1 if failed or process.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
