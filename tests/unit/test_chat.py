"""Chat templates: programs from strangers, in a sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith import Session
from llamasmith.chat import MAX_TURNS, ChatTemplate
from llamasmith.errors import ChatTemplateError, InvalidOption

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HELLO = [{"role": "user", "content": "Hello"}]


def test_a_conversation_becomes_a_text() -> None:
    template = ChatTemplate(CHATML)
    assert template.render(HELLO) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert template.render(HELLO, add_generation_prompt=False) == "<|im_start|>user\nHello<|im_end|>\n"


def test_what_templates_are_used_to() -> None:
    source = (
        "{{ bos_token }}{%- for m in messages if m.role != 'system' %}{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content | trim }}{% endgeneration %}{% endfor %}{{ tools | tojson }}{{ extra }}"
        "{{ strftime_now('%Y')|length }}{% set ns = namespace(n=0) %}{% set ns.n = 3 %}{{ ns.n }}"
    )
    text = ChatTemplate(source, bos_token="<s>").render(
        [{"role": "system", "content": "x"}, {"role": "user", "content": " a "}, {"role": "user", "content": "b"}],
        tools=[{"name": "é<b>"}],
        extra="!",
    )
    assert text == '<s>a[{"name": "é<b>"}]!43'


def test_a_template_can_refuse() -> None:
    template = ChatTemplate("{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}")
    with pytest.raises(ChatTemplateError, match="refuses these messages: no system role"):
        template.render([{"role": "system", "content": ""}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__['os'] }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ 2 ** 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 1 / 0 }}",
        "{{ nothing.at.all }}",
        "{{ [1, 2] | tojson(indent=100000000) * 100000000 }}",
        "{% include 'file' %}",
    ],
)
def test_hostile_templates_end_with_an_error(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source).render(HELLO)


@pytest.mark.parametrize("source", ["{% for %}", "{{ a", "{% endif %}", "x" * (2 << 20)])
def test_what_is_no_template_is_refused(source: str) -> None:
    with pytest.raises(ChatTemplateError, match=r"cannot be read|characters"):
        ChatTemplate(source)


@pytest.mark.parametrize("messages", [[], ["hello"], [{"content": "x"}], [{"role": 1, "content": "x"}], [None]])
def test_what_are_no_messages_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidOption, match="'role': 'user'"):
        ChatTemplate(CHATML).render(messages)


def test_long_conversations_are_no_hostility() -> None:
    many = HELLO * 20_000
    assert len(many) < MAX_TURNS
    assert ChatTemplate(CHATML).render(many).count("Hello") == len(many)


def test_a_model_without_template_says_so(tiny: Any) -> None:
    with pytest.raises(InvalidOption, match="has no chat template; it has: none"):
        tiny.chat_prompt(HELLO)


@pytest.mark.slow
def test_a_real_conversation_goes_on_where_it_was(smollm2: Any) -> None:
    with Session(smollm2, n_ctx=1024) as session:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "Say yes."}]
        first = session.chat(messages, max_tokens=12, temperature=0)
        assert first.text
        messages += [
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "Now say no."},
        ]
        second = session.chat(messages, max_tokens=12, temperature=0)
        assert second.timings.reused_tokens > 20  # all of the first turn
        assert "".join(session.chat_stream(messages, max_tokens=12, temperature=0)) == second.text
        prompt = smollm2.chat_prompt(messages)
        assert prompt.endswith("<|im_start|>assistant\n")
        assert smollm2.chat_tokens(messages) == smollm2.tokenize(prompt, add_special=False, parse_special=True)
