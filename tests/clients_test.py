#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Public clients of OpenAI's interface, unchanged, against vibee serve; writes the table of docs/conformance.md with --write.

usage: tests/clients_test.py VIBEE MODEL [EMBEDDING_MODEL] [--write FILE]
Needs from PyPI: openai langchain-openai jsonschema, and for log-likelihoods lm-eval[api] (all optional: what is missing is said).
"""
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

arguments = sys.argv[1:]
write = arguments.pop(arguments.index("--write") + 1) if "--write" in arguments else None
arguments = [a for a in arguments if a != "--write"]
vibee, model, *embedding = arguments
port = 18081
base = f"http://127.0.0.1:{port}/v1"
rows = []
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
          "required": ["name", "age"], "additionalProperties": False}
TALK = [{"role": "user", "content": "Describe a person as JSON."}]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": False}}}]


def version(package):
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return None


def case(client, what, call):
    try:
        outcome = call() or "pass"
    except Exception as e:
        outcome = f"fail: {type(e).__name__}: {str(e)[:160]}"
    rows.append((client, what, outcome))
    print(f"  {client}: {what}: {outcome}", flush=True)


def with_openai():
    client = version("openai")
    if not client:
        return rows.append(("openai", "all", "not run: openai is not installed"))
    import openai
    ai = openai.OpenAI(base_url=base, api_key="key")

    def chat():
        r = ai.chat.completions.create(model=model, messages=TALK, max_tokens=16, temperature=0, seed=1, logprobs=True, top_logprobs=2)
        assert r.choices[0].message.content and r.usage.completion_tokens <= 16 and len(r.choices[0].logprobs.content) == r.usage.completion_tokens
        return None

    def streamed():
        plain = ai.chat.completions.create(model=model, messages=TALK, max_tokens=16, temperature=0).choices[0].message.content
        events = list(ai.chat.completions.create(model=model, messages=TALK, max_tokens=16, temperature=0, stream=True, stream_options={"include_usage": True}))
        assert "".join(c.delta.content or "" for e in events for c in e.choices) == plain and events[-1].usage.completion_tokens <= 16

    def completions():
        r = ai.completions.create(model=model, prompt=["Once upon", "And then"], max_tokens=8, n=2, echo=True, logprobs=1, seed=3)
        assert len(r.choices) == 4 and r.choices[0].text.startswith("Once upon") and r.choices[0].logprobs.token_logprobs[0] is None

    def schema():
        import jsonschema
        for seed in range(3):
            r = ai.chat.completions.create(model=model, messages=TALK, max_tokens=120, seed=seed, temperature=1,
                                           response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}})
            if r.choices[0].finish_reason == "stop":
                jsonschema.validate(json.loads(r.choices[0].message.content), SCHEMA)

    def parsed():
        import pydantic

        class Person(pydantic.BaseModel):
            name: str
            age: int

        r = ai.chat.completions.parse(model=model, messages=TALK, max_tokens=200, temperature=0, response_format=Person)
        assert r.choices[0].finish_reason == "length" or isinstance(r.choices[0].message.parsed, Person)

    def models():
        assert model in [m.id for m in ai.models.list().data] and ai.models.retrieve(model).id == model

    def errors():
        for body, kind in (({"model": "none"}, openai.NotFoundError), ({"temperature": 9}, openai.BadRequestError)):
            try:
                ai.chat.completions.create(**{"model": model, "messages": TALK, **body})
            except kind as e:
                assert e.body["code"] and e.body["message"]
            else:
                raise AssertionError("no error")

    def embeddings():
        if not embedding:
            return "not run: no embedding model was given"
        r = ai.embeddings.create(model=embedding[0], input=["A cat sleeps.", "A dog runs."])  # base64 by default
        f = ai.embeddings.create(model=embedding[0], input="A cat sleeps.", encoding_format="float")
        assert len(r.data) == 2 and abs(sum(x * x for x in r.data[0].embedding) - 1) < 1e-3
        assert max(abs(a - b) for a, b in zip(r.data[0].embedding, f.data[0].embedding)) < 1e-6

    for what, call in (("chat with logprobs", chat), ("chat, streamed", streamed), ("completions, n, echo, logprobs", completions), ("JSON schema", schema),
                       ("parse into a pydantic model", parsed), ("models", models), ("errors", errors), ("embeddings, base64 and float", embeddings)):
        case(client, what, call)


def with_tools():
    """Against a server whose template knows tools; that of SmolLM2 knows none."""
    client = version("openai")
    if not client:
        return
    import openai
    ai = openai.OpenAI(base_url=base, api_key="key")
    ask = {"model": model, "messages": [{"role": "user", "content": "What is the weather in Oslo?"}], "tools": TOOLS, "max_tokens": 80, "temperature": 0}

    def required():
        choice = ai.chat.completions.create(**ask, tool_choice="required").choices[0]
        call = choice.message.tool_calls[0]
        assert call.function.name == "weather" and "city" in json.loads(call.function.arguments) and choice.finish_reason == "tool_calls"
        return call

    def streamed():
        parts, name, reason = [], None, None
        for event in ai.chat.completions.create(**ask, tool_choice="required", stream=True):
            for c in event.choices:
                reason = c.finish_reason or reason
                for d in c.delta.tool_calls or []:
                    name = d.function.name or name
                    parts.append((d.index, d.function.arguments or ""))
        assert (name, "".join(a for i, a in parts if i == 0), reason) == ("weather", required().function.arguments, "tool_calls")

    def answered():
        call = required()
        r = ai.chat.completions.create(**{**ask, "messages": ask["messages"] + [
            {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
            {"role": "tool", "tool_call_id": call.id, "content": "It rains, 4 degrees."}]}, tool_choice="none")
        assert r.choices[0].message.content and not r.choices[0].message.tool_calls

    case(client, "tools, required", lambda: required() and None)
    case(client, "tools, streamed", streamed)
    case(client, "tools, a result given back", answered)
    client = version("langchain-openai")
    if not client:
        return
    from langchain_openai import ChatOpenAI

    def bound():
        llm = ChatOpenAI(model=model, base_url=base, api_key="key", temperature=0, max_tokens=80).bind_tools(TOOLS, tool_choice="weather")
        call = llm.invoke("What is the weather in Oslo?").tool_calls[0]
        assert call["name"] == "weather" and "city" in call["args"]

    case(client, "tools, bound", bound)


def with_langchain():
    client = version("langchain-openai")
    if not client:
        return rows.append(("langchain-openai", "all", "not run: langchain-openai is not installed"))
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    llm = ChatOpenAI(model=model, base_url=base, api_key="key", temperature=0, max_tokens=64)

    def invoke():
        r = llm.invoke("Why is the sky blue?")
        assert r.content and r.usage_metadata["output_tokens"] > 0

    def streamed():
        assert "".join(c.content for c in llm.stream("Why is the sky blue?")) == llm.invoke("Why is the sky blue?").content

    def structured():
        out = ChatOpenAI(model=model, base_url=base, api_key="key", temperature=0, max_tokens=200).with_structured_output({"title": "person", **SCHEMA}, method="json_schema")
        assert set(out.invoke("Describe a person.")) == {"name", "age"}

    def embed():
        if not embedding:
            return "not run: no embedding model was given"
        e = OpenAIEmbeddings(model=embedding[0], base_url=base, api_key="key", check_embedding_ctx_length=False)
        assert len(e.embed_documents(["A cat.", "A dog."])) == 2

    for what, call in (("invoke", invoke), ("stream", streamed), ("structured output", structured), ("embeddings", embed)):
        case(client, what, call)


def with_lm_eval():
    client = version("lm_eval")
    if not client:
        return rows.append(("lm-eval", "local-completions", "not run: lm-eval is not installed"))

    def loglikelihood():
        text = open(os.path.join(os.path.dirname(__file__), "..", "CONTRIBUTING.md")).read()
        words = text.split()
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/docs.jsonl", "w") as out:
                for i in range(12):
                    piece = words[i * 20:(i + 1) * 20]
                    right = " " + " ".join(piece[15:])
                    wrong = " " + " ".join(reversed(piece[15:]))
                    out.write(json.dumps({"context": " ".join(piece[:15]), "choices": [right, wrong], "answer": 0}) + "\n")
            with open(folder + "/order.yaml", "w") as out:
                out.write(f"task: order\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/docs.jsonl\ntest_split: test\noutput_type: multiple_choice\n"
                          "doc_to_text: context\ndoc_to_choice: choices\ndoc_to_target: answer\ntarget_delimiter: ''\nmetric_list:\n  - metric: acc\n")
            tokenizer = folder + "/tokenizer"
            subprocess.run([vibee, "tokenizer", "export", model, tokenizer], check=True, capture_output=True)
            ran = subprocess.run([sys.executable, "-m", "lm_eval", "--model", "local-completions", "--tasks", "order", "--include_path", folder, "--output_path", folder + "/out",
                                  "--model_args", f"model={model},base_url={base}/completions,num_concurrent=4,tokenized_requests=True,tokenizer={tokenizer}"],
                                 capture_output=True, text=True, timeout=400, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
            found = [os.path.join(d, f) for d, _, files in os.walk(folder + "/out") for f in files if f.startswith("results")]
            if not found:
                raise RuntimeError(ran.stderr[-300:])
            accuracy = json.load(open(found[0]))["results"]["order"]["acc,none"]
        assert accuracy >= 0.75, accuracy
        return f"pass (accuracy {accuracy:.2f} of word order, 12 documents)"

    case(client, "log-likelihoods by local-completions", loglikelihood)


def against(arguments, clients):
    """A server, and what its clients find. What it says where it does not start."""
    log = tempfile.TemporaryFile()
    server = subprocess.Popen([vibee, "serve", model, "--port", str(port), "--ctx", "1024", "--batch", "8", "--policy", "chunked", *arguments], stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(base + "/models").read()
                break
            except OSError:
                time.sleep(0.1)
                if server.poll() is not None:
                    log.seek(0)
                    sys.exit(log.read().decode())
        for client in clients:
            client()
    finally:
        server.terminate()
        server.wait(60)


def main():
    against(embedding, (with_openai, with_langchain, with_lm_eval))
    against(["--chat-template", os.path.join(os.path.dirname(__file__), "..", "configs", "chatml_tools.jinja")], (with_tools,))
    rows.sort(key=lambda row: row[0])
    if write:
        with open(write, "w") as out:
            out.write("<!-- Written by tests/clients_test.py --write. -->\n# Clients\n\nPublic clients, unchanged, against `vibee serve`, and what became of each.\n\n"
                      "Tools are asked for with the template `configs/chatml_tools.jinja`.\n\n| client | what | outcome |\n|---|---|---|\n" + "".join(f"| {c} | {w} | {o} |\n" for c, w, o in rows))
    return any(o.startswith("fail") for _, _, o in rows)


sys.exit(main())
