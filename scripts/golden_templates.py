#!/usr/bin/env python3
"""Makes tests/fixtures/golden/templates.json: chat templates in the style of each family of models, and the
texts that transformers' own Jinja environment renders from them.

    python scripts/golden_templates.py [OUT]

Needs transformers and jinja2. The templates were written for this file. Each uses the same parts of
Jinja as the published templates of its family (white space control, tests, filters, methods of Python's
strings, namespaces, macros, slices, exceptions). `parts` contains single expressions with their results.

The date is fixed at 26 July 2024, as for templates in the crate.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
QUESTIONS = ["What is 1+1?", "  padded\n\n", "\"'<&> {{ x }} {% if %} \\frac{1}{2}\n\té漢😀"]
SYSTEMS = [None, "Be brief.", ""]

FAMILIES = {
    "qwen2": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helper.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helper.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "qwen3": """{%- if tools %}{{- 'tools' }}{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "llama2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    "llama31": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The system message comes out of the list. -#}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Knowledge: December 2023\\n" }}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "functions" }}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {{- raise_exception("no tools here") }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("no calls here") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "llama32_clock": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "Today: " + date_string + "\\n" }}{{ messages[-1].content | trim }}""",
    "mistral_v1": """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}""",
    "mistral_v3": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- Users and assistants in turn, tools left out. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}""",
    "deepseek_r1": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|end|>'}}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<|tool_end|>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|><think>\\n'}}{% endif %}""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}""",
    "gemma3": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {{ '<start_of_turn>' + message['role'] + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}
""",
    "phi3": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "vicuna": """{%- set first = namespace(yes=true) -%}
{%- for message in messages if message.role != 'tool' -%}
  {%- if message.role == 'system' -%}{{ message.content }}{{ ' ' }}
  {%- elif message.role == 'user' -%}{%- if first.yes and messages | length == 1 -%}A chat. {% endif %}USER: {{ message.content }} {%- endif -%}
  {%- set first.yes = false -%}
{%- endfor -%}
{{ " ASSISTANT:" if add_generation_prompt else "" }}""",
    "command": """{% if documents %}{% for document in documents %}{{ document.title }}{% endfor %}{% else %}{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif false == true %}{% set loop_messages = messages %}{% set system_message = 'Be kind.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% if system_message != false %}{{ '<|START|><|SYSTEM|>' + system_message + '<|END|>' }}{% endif %}{% for message in loop_messages %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|START|><|USER|>' + content.strip() + '<|END|>' }}{% endif %}{% endfor %}{% endif %}{% if documents is not none %}D{% endif %}{% if tools is none and documents is none %}N{% endif %}""",
    "glm4": """[gMASK]<sop>{% for item in messages %}{% if item['tools'] is defined and item['role'] == 'system' %}tools{% endif %}{% if item['content'] %}<|{{ item['role'] }}|>{{ item['metadata'] }}
{{ item['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}""",
    "granite": """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = "Knowledge: April 2024.\\nToday: " + strftime_now('%B %d, %Y') + ".\\nYou are a model." %}
    {%- if tools and documents %}
        {%- set system_message = system_message + " Tools." %}
    {%- elif documents %}
        {%- set system_message = system_message + " Documents." %}
    {%- endif %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '<|start|>system<|sep|>' + system_message + '<|end|>\\n' }}
{%- for message in loop_messages %}
    {{- '<|start|>' + message['role'] + '<|sep|>' + message['content'] + '<|end|>\\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start|>assistant' }}
            {%- if controls %}
                {{- ' ' + controls | tojson() }}
            {%- endif %}
        {{- '<|sep|>' }}
    {%- endif %}
{%- endfor %}""",
    "smollm3": """{# Defaults #}
{%- if enable_thinking is not defined -%}
{%- set enable_thinking = true -%}
{%- endif -%}
{%- if enable_thinking -%}
  {%- set reasoning_mode = "/think" -%}
{%- else -%}
  {%- set reasoning_mode = "/no_think" -%}
{%- endif -%}
{{- "<|im_start|>system\\n" -}}
{%- if messages[0].role == "system" -%}
  {%- set system_message = messages[0].content -%}
  {%- if "/no_think" in system_message -%}
    {%- set reasoning_mode = "/no_think" -%}
  {%- endif -%}
  {%- set custom_instructions = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{{- "## Metadata\\n\\n" -}}
{%- set today = strftime_now("%d %B %Y") -%}
{{- "Today: " ~ today ~ "\\nMode: " + reasoning_mode + "\\n\\n" -}}
{%- if custom_instructions -%}
  {{- custom_instructions + "\\n\\n" -}}
{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}
        {{ "<|im_start|>" + message.role + "\\n"  + content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {{ "<|im_start|>assistant\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ "<|im_start|>assistant\\n" }}
{%- endif -%}
""",
    "macros": """{%- macro turn(role, content, close=true) -%}
<|{{ role }}|>{{ content }}{% if close %}<|end|>{% endif %}
{%- endmacro -%}
{%- macro json(value) -%}{{ value | tojson(indent=2) }}{%- endmacro -%}
{%- for m in messages %}{{ turn(m.role, m.content) }}{{ "\\n" }}{% endfor -%}
{{ turn('assistant', '', close=false) }}{{ json(messages[-1]) }}""",
    "windows_lines": "{% for m in messages %}\r\n<|{{ m.role }}|>\r\n{{ m.content }}\r\n{% endfor %}\r\n{{ 'a\r\nb' }}\r\n\r\n",
    "old_mac_lines": "{% for m in messages %}\r<|{{ m.role }}|>\r{{ m.content }}\r{% endfor %}\r",
    "joined_lines": "{{ 'one \\\ntwo' }} {{ \"a\\\r\nb\" }}{{ messages[0].content }}",
    "joined_literals": "{{ 'one ' 'two' \"three\"\n 'four' }}{{ messages[0]['con' 'tent'] }}",
    "escapes": r"""{{ '\x41\101\u00e9\U0001F600\a\v\f\b|\d\q|\'|\"|\\n|\t|' }}{{ "\"\'{{ }} {% %}" }}{{ messages[0].content }}""",
    "braces": "{{ {'a': {'b': '}}'}}['a']['b'] }}{% set d = {'%}': '{%'} %}{{ d['%}'] }}{# {{ ' #}{{ messages[0].content }}",
    "raw": "{% raw %}{{ 'a' }} {% generation %}\r\n{% endraw %}{{ messages[0].content }}{%- raw -%} x {%- endraw -%}",
    "generation": "a {%- generation -%} b {%- endgeneration %} c\n{% generation %}\n  d\n{% endgeneration %}\ne{{ messages[0].content }}",
    "whitespace": "  {% if true %}  \n  x\n\t{%- if true +%}\n y \n{%+ endif %}\n  {% endif -%}  \n z {{- ' w ' -}} \n{#- c -#}\n v\n\n",
    "tokens": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token is defined }}|{{ bos_token is defined }}|{{ messages[0].content }}",
    "alternation": "{% for m in messages %}{{ loop.cycle('odd', 'even') }}{{ loop.index }}{{ loop.revindex0 }}{{ loop.length }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% if loop.changed(m.role) %}!{% endif %}{% endfor %}",
    "breaks": "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% else %}none{% endfor %}{% for i in [] %}x{% else %}none{% endfor %}",
    "blocks": "{% set x %}a {{ messages[0].content }} b{% endset %}[{{ x }}]{% set y | upper %}up{% endset %}{{ y }}{% filter replace('q', 'Q') %}quick{% endfilter %}{% with z = 3 %}{{ z }}{% endwith %}{% call(v) wrap() %}{{ v }}{% endcall %}",
    "blocks_call": "{% macro wrap(n) %}<{{ caller(n) }}>{% endmacro %}{% call(v) wrap(7) %}{{ v }}{% endcall %}{{ messages[0].content }}",
    "missing": "{{ messages[0].nothing }}|{{ nothing }}|{{ messages[0]['nothing'] is defined }}|{{ nothing or 'default' }}|{{ nothing | default('d') }}|{{ none }}|{{ messages[9] is defined }}",
    "missing_attribute": "{{ nothing.at.all }}",
    "no_template_end": "{% if true %}x",
    "unknown_filter": "{{ 'x' | nofilter }}",
}

# Expressions, by topic.
PARTS = r"""
'abc' is sequence
[1] is sequence
{'a': 1} is sequence
5 is sequence
none is sequence
'abc' is iterable
{'a': 1} is iterable
5 is iterable
nothing is iterable
'abc' is mapping
{'a': 1} is mapping
true is number
1.5 is number
'1' is number
true is integer
5 is integer
5.0 is integer
5.0 is float
true is boolean
1 is boolean
none is none
nothing is none
nothing is undefined
range is callable
'x' is callable
'a' is in ['a', 'b']
'a' in {'a': 1}
'b' not in 'abc'
3 is divisibleby 3
4 is even
'abc' is lower
'ABC' is upper
1 is sameas 1
true is true
1 is true
false is false
'a' is eq 'a'
2 is gt 1
'x' is filter
'upper' is filter
true
false
none
[true, none, 1.0, 'a', "it's", 'q"q']
{'a': [1, 2.5], 'b': none, 3: 'x'}
(1, 'two')
1 / 2
7 // 2
-7 // 2
-7 % 3
2 ** 10
2 ** -1
1 + 2.0
1e3
1_000
10 / 5
3 * 'ab'
[1] * 2
[1] + [2]
'a' ~ 1 ~ none ~ true
'%s and %d' % ('x', 3)
'%s' % 'x'
1 < 2 < 3
1 == 1.0
true == 1
'a' < 'b'
not 'x' or 'y'
'x' and 'y'
'' or 'z'
'a' if false
'a' if true else 'b'
[1, 2, 3][1:]
[1, 2, 3][:-1]
[1, 2, 3][::-1]
'hello'[1:3]
'hello'[::-1]
'hello'[-1]
[1, 2, 3][5]
'abc' | upper
'ABC' | lower
'hello world' | title
'hello World' | capitalize
"it's o'clock" | title
'  x  ' | trim
'xxaxx' | trim('x')
[1, 2, 3] | join(', ')
[{'a': 1}, {'a': 2}] | join(',', attribute='a')
[{'a': 1}, {'a': 2}] | map(attribute='a') | list
['a', 'b'] | map('upper') | join
[1, 2, 3, 4] | select('even') | list
[1, 2, 3, 4] | reject('even') | list
['a', '', none] | select | list
[{'r': 'u', 'n': 1}, {'r': 's', 'n': 2}] | selectattr('r', 'equalto', 'u') | map(attribute='n') | list
[{'r': 'u'}, {'q': 1}] | selectattr('r', 'defined') | list | length
[{'r': 'u'}, {'r': 's'}] | rejectattr('r', 'eq', 's') | list | length
[3, 1, 2] | sort
[3, 1, 2] | sort(reverse=true)
['b', 'A', 'c'] | sort
[1, 1, 2] | unique | list
[1, 2, 3] | reverse | list
'abc' | reverse
[1, 2, 3] | first
[1, 2, 3] | last
[1, 2, 3] | sum
[1, 2, 3] | max
[1, 2, 3] | min
'abc' | length
{'a': 1} | length
{'b': 1, 'a': 2} | dictsort
{'b': 1, 'a': 2} | items | list
{'b': 1}.items() | list
{'b': 1} | list
'12' | int
'x' | int
'x' | int(7)
'3.7' | int
3.7 | int
'1.5' | float
1.55 | round(1)
3 | round
2.5 | round
-3 | abs
'a b c' | replace('b', 'x')
'aaa' | replace('a', 'b', 2)
5 | string
'abc' | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | slice(2) | list
'a\nb' | indent
'a\nb' | indent(2, true)
'a\n\nb' | indent(2)
'<a&b>' | escape
'<a>' | safe
'hello world foo' | wordcount
'a long text here' | truncate(8)
'x' | center(5)
{'a': 1} | tojson
{'a': [1, {'b': 'é<&>\u2028"\\'}], 'c': none, 'd': 1.0, 'e': true} | tojson
{'a': [1, {'b': 2}], 'c': [], 'd': {}} | tojson(indent=2)
{'a': [1, 2]} | tojson(indent=4)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{'a': 'é'} | tojson(ensure_ascii=true)
[1, 2] | tojson(separators=(',', ':'))
'text' | tojson
1e20 | tojson
'a,b,c'.split(',')
'a b  c'.split()
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
'a\nb\r\nc'.splitlines()
' x '.strip()
'xxaxx'.strip('x')
'xxa'.lstrip('x')
'axx'.rstrip('x')
'Hello'.lower()
'hello'.upper()
'hello world'.title()
'hello World'.capitalize()
'Hello'.swapcase()
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.endswith('c')
'abc'.find('c')
'abc'.find('x')
'abcabc'.rfind('c')
'abc'.index('b')
'aXbXc'.replace('X', '-')
'aXbXc'.replace('X', '-', 1)
'banana'.count('a')
'-'.join(['a', 'b'])
'12'.isdigit()
'ab1'.isalnum()
'ab'.isalpha()
' '.isspace()
'AB'.isupper()
'ab'.islower()
'a=b=c'.partition('=') | list
'a=b=c'.rpartition('=') | list
'prefix-x'.removeprefix('prefix-')
'x-suffix'.removesuffix('-suffix')
'5'.zfill(3)
'x'.center(5)
'x'.ljust(3) ~ '|'
'x'.rjust(3)
'{} and {}'.format('a', 1)
'{0}{1}{0}'.format('a', 'b')
'{name}'.format(name='n')
'{:.2f}'.format(3.14159)
'a\tb'.expandtabs(4)
{'a': 1}.get('a')
{'a': 1}.get('b')
{'a': 1}.get('b', 'd')
{'a': 1}.keys() | list
{'a': 1}.values() | list
[1, 2, 1].count(1)
[1, 2].index(2)
dict(a=1, b='x')
namespace(a=1).a
range(3) | list
range(5, 0, -2) | list
'x' * 0
('a' ~ 'b') | length
'-5'.zfill(4)
'ab'.center(5) ~ '|'
'a  b c '.rsplit(None, 1)
'a b'.rsplit()
'12.9' | int
cycler('a', 'b').next()
joiner(', ')() ~ 'x'
strftime_now('%Y-%m-%d %H:%M:%S')
strftime_now('%a %A %b %B %d %e %j %y %p %I %M %U %w %%')
strftime_now('%-d %-m %D %F %T %x %X %c')
""".strip().split("\n")


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def main():
    here = pathlib.Path(__file__).resolve().parent
    out = sys.argv[1] if len(sys.argv) > 1 else here.parent / "tests/fixtures/golden/templates.json"
    chat_template_utils.datetime = Clock
    compile_ = chat_template_utils._compile_jinja_template

    def rendered(source, **context):
        try:
            return {"text": compile_(source).render(**context)}
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError) as error:
            return {"error": str(error)}

    families = []
    for name, source in FAMILIES.items():
        cases = []
        for question in QUESTIONS:
            for system in SYSTEMS:
                messages = [{"role": "user", "content": question}]
                if system is not None:
                    messages.insert(0, {"role": "system", "content": system})
                result = rendered(source, messages=messages, tools=None, documents=None,
                                  add_generation_prompt=True, **TOKENS)
                cases.append({"question": question, "system": system, **result})
        families.append({"name": name, "source": source, "cases": cases})
    parts = [{"part": part, **rendered("{{ " + part + " }}")} for part in PARTS]
    made_with = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"
    golden = {"made_with": made_with, "tokens": TOKENS, "families": families, "parts": parts}
    pathlib.Path(out).write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    errors = [c for f in families for c in f["cases"] if "error" in c]
    print(len(families), "templates,", sum(len(f["cases"]) for f in families), "cases,",
          len(parts), "parts,", len(errors) + sum("error" in p for p in parts), "errors")


if __name__ == "__main__":
    main()
