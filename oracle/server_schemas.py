#!/usr/bin/env python3
"""Constrained decoding against an independent validator: random schemas, each answered by the pocket model at temperature 1,
every finished answer checked with the package `jsonschema`.

    pip install jsonschema
    python3 oracle/server_schemas.py [COUNT] [SEED]

Prints the failures and a summary; exits with 1 when an answer does not fit its schema, with 77 (skipped) without the package.
"""
import concurrent.futures
import json
import random
import sys
import urllib.error
import urllib.request

try:
    import jsonschema
except ImportError:
    print("SKIPPED: the Python package `jsonschema` is not installed")
    sys.exit(77)

from server_process import running_server

WORDS = ["name", "age", "city", "x", "tag list", "naïve", "quote\"d", "left", "right", "unit"]


def random_value(rng, depth=0):
    kind = rng.randrange(6 if depth < 2 else 4)
    if kind == 0:
        return rng.randint(-1000, 1000)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice([True, False, None])
    if kind == 3:
        return rng.choice([0.5, -2.25, 3.125])
    if kind == 4:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(WORDS): random_value(rng, depth + 1) for _ in range(rng.randrange(3))}


def random_object(rng, depth):
    names = rng.sample(WORDS, rng.randint(1, 4))
    schema = {"type": "object", "properties": {name: random_schema(rng, depth + 1) for name in names},
              "required": rng.sample(names, rng.randint(0, len(names)))}
    if rng.random() < 0.6:
        schema["additionalProperties"] = False
    return schema


def random_array(rng, depth):
    schema = {"type": "array", "items": random_schema(rng, depth + 1)}
    if rng.random() < 0.3:
        schema["prefixItems"] = [random_schema(rng, depth + 1) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.5:
        schema["minItems"] = rng.randint(0, 2)
    if rng.random() < 0.9:  # the pocket model likes long lists
        schema["maxItems"] = schema.get("minItems", 0) + rng.randint(0, 3)
    return schema


def random_string(rng):
    schema = {"type": "string"}
    if rng.random() < 0.3:
        schema["minLength"] = rng.randint(0, 5)
    if rng.random() < 0.8:
        schema["maxLength"] = schema.get("minLength", 0) + rng.randint(0, 20)
    return schema


def random_schema(rng, depth=0):
    if depth == 0 or (depth < 3 and rng.random() < 0.35):
        return random_object(rng, depth) if rng.random() < 0.7 or depth == 0 else random_array(rng, depth)
    kind = rng.randrange(9)
    if kind == 0:
        return {"type": "integer"}
    if kind == 1:
        return {"type": "number"}
    if kind == 2:
        return {"type": "boolean"}
    if kind == 3:
        return {"enum": [random_value(rng) for _ in range(rng.randint(1, 4))]}
    if kind == 4:
        return {"const": random_value(rng)}
    if kind == 5:
        return {"type": ["string", "null"], "maxLength": 12}
    if kind == 6:
        return {"anyOf": [random_schema(rng, 3), {"type": "null"}]}
    if kind == 7:
        return {"$ref": "#/$defs/shared"}
    return random_string(rng)


def ask(address, index, schema, rng):
    body = {"messages": [{"role": "user", "content": rng.choice(["Tell me a story.", "What is 7 plus 5?", "Hello."])}],
            "temperature": rng.choice([0, 0.7, 1.0, 1.5]), "seed": index, "max_tokens": 700,
            "chat_template_kwargs": {"enable_thinking": rng.random() < 0.2},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    request = urllib.request.Request(address + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["choices"][0]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    schemas = []
    for _ in range(count):
        schema = random_schema(rng)
        schema["$defs"] = {"shared": random_schema(rng, 3) if rng.random() < 0.5 else {"type": "boolean"}}
        if schema["$defs"]["shared"].get("$ref") or "anyOf" in schema["$defs"]["shared"]:
            schema["$defs"]["shared"] = {"type": "integer"}
        jsonschema.Draft202012Validator.check_schema(schema)
        schemas.append(schema)
    finished = failed = 0
    with running_server("--queue", "2000") as (address, _):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            rngs = [random.Random(rng.random()) for _ in schemas]
            answers = pool.map(lambda i: ask(address, i, schemas[i], rngs[i]), range(count))
            for schema, choice in zip(schemas, answers):
                if choice["finish_reason"] != "stop":
                    continue
                finished += 1
                try:
                    value = json.loads(choice["message"]["content"])
                    jsonschema.Draft202012Validator(schema).validate(value)
                except (ValueError, jsonschema.ValidationError) as error:
                    failed += 1
                    print("DOES NOT FIT", json.dumps(schema), choice["message"]["content"], error, sep="\n  ")
    print(f"{finished} of {count} answers ended before their limit; {failed} of them do not fit their schema")
    return 1 if failed or finished < 0.8 * count else 0


if __name__ == "__main__":
    sys.exit(main())
