"""Renders many small templates with jinja2 as transformers sets it up, for tests/data/templates/jinja_more.json.

compare_templates.py OUT    (versions are written into the file)

Every row holds its template and either `text`, `error` (a jinja2.TemplateError: the engine's message must contain it) or
`python_error` (another exception of the reference: the engine must fail as well, its words may differ).
"""
import datetime, json, sys
import jinja2, transformers
from transformers.utils.chat_template_utils import _cached_compile_jinja_template

INPUT = {
    "n": None, "t": True, "f": False, "i": 7, "neg": -3, "x": 2.5, "big": 9007199254740993, "s": "Hello, World", "e": "", "u": "héllo wörld 日本 🙂", "ws": " \t\u00a0 padded \u3000\n",
    "multi": "one\ntwo\r\n\nfour", "q": "it's \"quoted\"", "html": "<a href='x'>&\"</a>", "xs": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "none_list": [],
    "mixed": [1, "a", None, True, 2.5, [1, 2], {"k": "v"}], "d": {"b": 1, "a": "x", "c": None}, "nested": {"a": {"b": [10, {"c": "deep"}]}, "items": "shadowed", "get": 5},
    "users": [{"name": "Zoe", "age": 31, "city": "Rome", "on": True}, {"name": "adam", "age": 25, "city": "oslo", "on": False}, {"name": "Bob", "age": 31, "city": "Oslo", "on": True}],
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"p": 1, "q": "é"}}}]}, {"role": "tool", "content": "[1]"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer", "enum": [1, 2]}}, "required": ["city"]}}}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
}

SNIPPETS = r'''
{{ 1 + 2 }} {{ 7 - 10 }} {{ 2 * 3.5 }} {{ 7 / 2 }} {{ 6 / 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1e300 * 1e10 }} {{ -1e300 * 1e10 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 1e-5 }} {{ 0.0001 }} {{ -0.0 }} {{ 1_000 }} {{ 1_0.5_0 }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1E3 }} {{ 1e+3 }} {{ 00 }}
{{ 9223372036854775807 + 1 }} {{ -9223372036854775808 - 1 }} {{ 9223372036854775807 * 2 }} {{ 99999999999999999999 // 7 }} {{ 99999999999999999999 % 7 }} {{ -99999999999999999999 // 7 }} {{ -99999999999999999999 % 7 }} {{ 99999999999999999999 - 99999999999999999998 }} {{ 2 ** 100 }} {{ 2**64 == 18446744073709551616 }} {{ 2**64 > 1e19 }} {{ -(2**63) }}
{{ big == 9007199254740992.0 }} {{ big > 9007199254740992.0 }} {{ big }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 2 > 1.5 }} {{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }} {{ [1] == (1,) }}
{{ true + true }} {{ true * 3 }} {{ -true }} {{ +true }} {{ not 0 }} {{ not '' }} {{ not [0] }} {{ true and 'x' }} {{ 0 or 'y' }} {{ '' or [] or 'z' }} {{ 1 and 0 and 2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 == 2 != 3 }} {{ 1 in [1] in [[1]] }} {{ 'a' in 'cat' in ['cat'] }}
{{ 1 if true }}|{{ 1 if false }}|{{ 1 if false else 2 if false else 3 }}|{{ (1 if true else 2) + 1 }}|{{ 'a' if 'b' in 'abc' else 'c' }}
{{ 'a' ~ 1 ~ 2.0 ~ none ~ true ~ [1] ~ {'k': 'v'} ~ missing }}
{{ 'a' 'b' "c" }} {{ 'x' * 3 }} {{ 3 * 'x' }} {{ 'x' * 0 }} {{ 'x' * -1 }} {{ [1] * 2 }} {{ (1, 2) * 2 }} {{ [1] + [2, 3] }} {{ (1,) + (2,) }} {{ 'a' + 'b' }}
{{ [] }} {{ {} }} {{ () }} {{ (1,) }} {{ (1, 2) }} {{ [1, [2, [3]]] }} {{ {'a': {'b': []}} }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ {1: 'x', none: 2, true: 3, 1.5: 4} }}
{{ 1, 2 }} {{ 1, }}
{{ "a\tb\\n\x41\u00e9\U0001F600\101\q" }}|{{ 'line\
joined' }}
{{ '\'' }} {{ "\"" }} {{ ['\'', '"', '\'"', '\n', '\t', '\\', 'é', '\x00', '\x7f', '\u200b', '\u00ad', '日', '🙂', '\ue000', '\u2028', '\x85'] }}
{{ [u, ws, q, html] }} {{ [x, t, n, i, -1.0, 1e100] }}
{{ s[0] }}{{ s[-1] }}{{ s[99] }}|{{ u[1] }}{{ u[-1] }}|{{ u[6:11] }}|{{ u[::-1] }}|{{ u[::2] }}|{{ u[-3:] }}|{{ u[:-3] }}|{{ u[10:2:-3] }}|{{ u[100:] }}|{{ s[2:1] }}|{{ s[-100:100] }}
{{ xs[0] }} {{ xs[-1] }} {{ xs[5] }} {{ xs[1:] }} {{ xs[:-1] }} {{ xs[::-1] }} {{ xs[::2] }} {{ xs[-2:] }} {{ xs[5:1:-1] }} {{ xs[:] }} {{ (1,2,3)[1:] }} {{ xs[true] }} {{ xs[none:2] }} {{ range(10)[2:8:3] }} {{ range(5)[1] }} {{ range(5)[::-1] | list }}
{{ xs[::0] }}
{{ xs['a':] }}
{{ n[1:] }}
{{ d[1:] }}
{{ missing[1:] }}
{{ d.b }} {{ d['a'] }} {{ d.c }} {{ d.zzz }} {{ d['zzz'] }} {{ d.get('b') }} {{ d.get('zzz') }} {{ d.get('zzz', 9) }} {{ nested.a.b[1].c }} {{ nested['a']['b'][0] }} {{ nested.a.b.1.c }} {{ nested.a.b[5] }}
{{ nested['items'] }} {{ nested.get('get') }} {{ nested.items() | list | length }}
{{ nested.a.zzz.y }}
{{ n.foo }} [{{ n['foo'] }}] {{ i.foo }} {{ s.foo }} {{ xs.foo }} {{ xs[1.5] }} {{ xs[none] }} {{ 'abc'['upper']() }} {{ d['keys']() | list }}
{{ n.foo.bar }}
{{ i.foo.bar }}
{{ xs[9].bar }}
{{ xs['q'].bar }}
{{ d[5].bar }}
{{ d[none].bar }}
{{ users[0].missing.x }}
{{ u.a.b }}
{{ missing }}|{{ missing | default('d') }}|{{ missing.x is defined if false else 'ok' }}|{{ missing == missing2 }}|{{ missing == none }}|{{ missing != 1 }}|{{ missing in [1] }}|{{ 1 in missing }}|{{ missing | length }}|{{ missing | list }}|{{ missing | string }}|{{ missing | upper }}|{{ missing | trim }}|{{ missing | join }}|{{ not missing }}|{{ [missing] }}|{{ missing ~ 'x' }}|{{ '%s' % missing }}
{{ missing + 1 }}
{{ 1 + missing }}
{{ 'a' + missing }}
{{ missing - 1 }}
{{ missing * 2 }}
{{ missing / 2 }}
{{ missing < 1 }}
{{ 1 < missing }}
{{ -missing }}
{{ missing() }}
{{ missing.x }}
{{ missing[0] }}
{{ missing['a'] }}
{{ missing | tojson }}
{{ missing | int }}
{{ missing | abs }}
{{ missing | first }}|{{ missing | last }}|{{ missing | reverse | list }}|{{ missing | sort }}|{{ missing | map('upper') | list }}|{{ missing | selectattr('x') | list }}|{{ missing | items | list }}|{{ missing | unique | list }}|{{ missing | sum }}|{{ missing | replace('a', 'b') }}|{{ missing | title }}|{{ missing | center(3) }}|{{ missing | wordcount }}|{{ missing | e }}|{{ missing | safe }}|{{ missing | min }}|{{ missing | max }}
{{ missing | indent }}
{{ missing | round }}
{{ missing | dictsort }}
{{ missing is defined }} {{ missing is undefined }} {{ missing is none }} {{ missing is string }} {{ missing is iterable }} {{ missing is sequence }} {{ missing is mapping }} {{ missing is number }} {{ missing is callable }} {{ missing is sameas none }} {{ missing is false }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 1.0 // 0 }}
{{ 1.0 % 0 }}
{{ 0 ** -1 }}
{{ 10.0 ** 400 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + 1 }}
{{ none + 1 }}
{{ 'a' - 'b' }}
{{ 'a' * 'b' }}
{{ 'a' * 1.5 }}
{{ {} + {} }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ [1] < ['a'] }}
{{ {} < {} }}
{{ -'a' }}
{{ 1 in 1 }}
{{ 1 in 'a' }}
{{ [] in {} }}
{{ {[]: 1} }}
{{ {{}: 1} }}
{{ 5() }}
{{ 'a'() }}
{{ none() }}
{{ s.upper.x }}
{{ s.nope() }}
{{ n.x() }}
{% for k in d %}{{ k }}{% endfor %}|{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for v in d.values() %}{{ v }},{% endfor %}|{% for c in 'héy' %}<{{ c }}>{% endfor %}|{% for a, b in [(1, 2), [3, 4], 'xy', {'p': 1, 'q': 2}] %}{{ a }}{{ b }} {% endfor %}
{% for (a, (b, c)), dd in [((1, (2, 3)), 4)] %}{{ a }}{{ b }}{{ c }}{{ dd }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, b in [(1,)] %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in missing %}x{% else %}empty{% endfor %}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}
{% for x in xs %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }} {% endfor %}
{% for x in [1, 1, 2] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}
{% for x in xs %}{{ loop['index'] }}{{ loop.nope }}{{ loop.nope is defined }}{% endfor %}
{% for x in xs %}{{ loop.nope.x }}{% endfor %}
{% for x in xs %}{{ loop.previtem.x }}{% endfor %}
{% for x in xs %}{{ loop() }}{% endfor %}
{% for x in xs %}{{ loop(xs) }}{% endfor %}
{% for x in xs %}{{ loop.cycle() }}{% endfor %}
{% for x in xs %}{% for y in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}
{% for x in xs %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}
{% for x in xs if x > 1 %}{{ x }}{{ loop.index }}{{ loop.length }}{{ loop.last }}{{ loop.nextitem }} {% else %}none{% endfor %}
{% for x in xs if x > 10 %}{{ x }}{% else %}none{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in xs if not ns.stop %}{{ x }}{% set ns.stop = true %}{% endfor %}
{% set ns = namespace(stop=false) %}{% for x in xs if not ns.stop %}{{ x }}{{ loop.last }}{% set ns.stop = true %}{% endfor %}
{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% endfor %}
{% for x in range(3) %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in range(10) %}{% if x > 2 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in range(10) %}{% for y in range(3) %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% if x == 2 %}{% break %}{% endif %}{% else %}never{% endfor %}
{% for x in xs %}{% break %}{% else %}left early{% endfor %}|{% for x in xs %}{% continue %}{% else %}all skipped{% endfor %}|{% for x in xs %}{% if loop.last %}{% break %}{% endif %}{% else %}no{% endfor %}
{% break %}
{% macro m() %}{% break %}{% endmacro %}
{% for x in xs %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}
{% for x in xs %}{% set y %}a{% if x == 1 %}{% break %}{% endif %}b{% endset %}{{ y }}{% endfor %}|
{% for x in xs|sort|reverse %}{{ x }}{% endfor %} {% for x in xs[::-1] %}{{ x }}{% endfor %} {% for x in xs|reverse %}{{ x }}{% endfor %}
{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}
{% set a = 1 %}{% for x in xs %}{{ a }}{% set a = x %}{{ a }} {% endfor %}{{ a }}
{% for x in [1, 2] %}{{ y }}{% set y = x %}{{ y }},{% endfor %}[{{ y }}]
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}{% set z = 1, 2 %}{{ z }}{% set a, b = b, a %}{{ a }}{{ b }}
{% set a, b = 1 %}
{% set a, b = [1, 2, 3] %}
{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns['a'] }}{{ ns.a is defined }}{{ ns.c is defined }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.a, ns.b = 5, 6 %}{{ ns.a }}{{ ns.b }}
{% set ns = namespace(x=0) %}{% for i in range(5) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}
{% set ns.a = 1 %}
{% set d.q = 1 %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set ns = namespace(_x=1) %}
{% set ns = namespace() %}{{ ns.x.y }}
{{ namespace(1) }}
{% set x %}a{{ 1 }}b{% endset %}[{{ x }}]{% set y | upper | trim %}  q {% endset %}[{{ y }}]
{% set x %}{% set inner = 1 %}{% endset %}{{ inner }}|{% filter upper %}{% set inner2 = 'i' %}a{{ inner2 }}{% endfilter %}{{ inner2 }}
{% filter upper | replace('A', 'x') %}abc{% endfilter %}{% filter indent(2) %}a
b{% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}{% with %}{% set q = 3 %}{{ q }}{% endwith %}{{ q }}
{% with a = 1, b = a %}[{{ b }}]{% endwith %}
{% if false %}{% set v = 1 %}{% else %}{% set v = 2 %}{% endif %}{{ v }}{% if true %}{% set v = 3 %}{% endif %}{{ v }}
{% if 0 %}a{% elif '' %}b{% elif [] %}c{% elif {} %}d{% elif none %}e{% elif 0.0 %}f{% elif missing %}g{% else %}h{% endif %}
{% if xs and not e and (n is none or t) %}yes{% endif %}{% if not (t and f) %}yes{% endif %}{% if not t in [f] %}yes{% endif %}{% if i not in xs %}yes{% endif %}
{% macro m(a, b=2, c=a) %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m(*[7, 8]) }}{{ m(**{'a': 9}) }}{{ m(1, *[2], c=3) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}
{% macro m(a) %}{{ a + 1 }}{% endmacro %}{{ m() }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}
{% macro m(a) %}{{ a }}{{ varargs | join('-') }}{% for k, v in kwargs.items() %}{{ k }}{{ v }}{% endfor %}{% endmacro %}{{ m(1, 2, 3, z=4, y=5) }}
{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{{ i }}{% endcall %}
{% macro m(xs) %}{% for x in xs %}{{ caller(x, loop.index) }};{% endfor %}{% endmacro %}{% call(v, k) m([5, 6]) %}{{ k }}:{{ v }}{% endcall %}
{% macro m() %}{{ caller }}{% endmacro %}[{{ m() }}]
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{{ g }}{% endmacro %}{% set g = 1 %}{{ a() }}
{% macro fact(n) %}{{ n if n <= 1 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(10) }}
{% macro r(v, d=0) %}{% if v is mapping %}{% for k, x in v.items() %}{{ '  ' * d }}{{ k }}:
{{ r(x, d + 1) }}{% endfor %}{% else %}{{ '  ' * d }}{{ v }}
{% endif %}{% endmacro %}{{ r(nested) }}
{% macro m(x) -%}   {{ x }}   {%- endmacro %}[{{ m(1) }}]{{ m }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m is callable }}
{% for x in [1, 2] %}{% macro m() %}{{ x }}{{ loop.index }}{% endmacro %}{{ m() }}{% endfor %}
{% set m = 1 %}{% macro m() %}macro{% endmacro %}{{ m() }}
{% macro m() %}{% set z = 5 %}{{ z }}{% endmacro %}{{ m() }}{{ z }}
{% macro outer() %}{% macro inner() %}I{% endmacro %}{{ inner() }}O{% endmacro %}{{ outer() }}{{ inner is defined }}
{% macro m(a=1, b) %}{% endmacro %}
{% raw %}{{ x }}{% if %}{# c #}{% endraw %}|{%- raw -%}  a  {%- endraw -%}  |
a {# comment #} b{#- x -#} c {# multi
line #}
d
  {# indented #}
e
{% if true %}
  x
{% endif %}
y
  {% if true %}
  x
  {% endif %}
y {% if true %} z {% endif %} w
  {{ 1 }}
  {{- 2 }}
  {{ 3 -}}
  {{ 4 }}
{%+ if true +%}
a{% endif %}
b   {%- set q = 1 -%}   c
   {%+ set q = 1 %}
d
{% set a = 1 -%}

   x {{- ' y ' -}} z
<{{ 'a' }}
>{{ 'b' }}


<{% if true -%}   a   {%- else -%} b {%- endif %}>
{%- for x in xs %}
- {{ x }}
{%- endfor %}

end
{% for x in xs -%}
{{ x }}
{%- if not loop.last %}, {% endif -%}
{% endfor %}
{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1}}}
{{- 'x' -}}   {{ 'y' }}   {{- 'z' -}}
{{ -1 }} {{-1 }} {{ - 1 }} {{ 5-3 }} {{ 5 -3 }} {{ --1 }} {{ -1 | abs }} {{ 1 - -1 }}
{{ 'a' is string }}{{ 1 is number }}{{ true is number }}{{ 1.5 is float }}{{ 1 is float }}{{ 1 is integer }}{{ true is integer }}{{ true is boolean }}{{ 1 is boolean }}{{ none is none }}{{ [] is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ {} is mapping }}{{ [] is mapping }}{{ [] is sequence }}{{ {} is sequence }}{{ 'a' is sequence }}{{ 1 is sequence }}
{{ 3 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 'aBc' is lower }}{{ '1' is upper }}{{ 1 is eq 1 }}{{ 1 is equalto 2 }}{{ 1 is ne 2 }}{{ 2 is gt 1 }}{{ 2 is ge 2 }}{{ 1 is lt 2 }}{{ 1 is le 0 }}{{ 2 is greaterthan 1 }}{{ 1 is lessthan 2 }}{{ 1 is in [1, 2] }}{{ 'a' is in 'cat' }}{{ none is sameas none }}{{ 'x' is not none }}{{ 1 is not string }}
{{ 'upper' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}{{ 'nope' is test }}{{ 'a' is callable }}{{ range is callable }}{{ 'a' is escaped }}{{ ('a' | safe) is escaped }}{{ true is true }}{{ 1 is true }}{{ false is false }}{{ d.keys() is sequence }}{{ d.keys() is iterable }}{{ (xs | map('string')) is iterable }}{{ (xs | map('string')) is sequence }}{{ range(3) is sequence }}
{{ 1 is nope }}
{{ 1 | nope }}
{% if false %}{{ 1 | nope }}{% endif %}ok
{{ 1 if true else (2 | nope) }}
{% if true %}{{ 1 | nope }}{% endif %}
{{ not 1 is odd }} {{ 1 is odd and 2 is even }} {{ 'x' if 3 is odd else 'y' }} {{ 1 is defined or x }} {{ [1, 2] is sequence }} {{ xs | length is gt 2 }} {{ xs[0] is odd }}
{{ 1 is odd is even }}
{{ s | upper }}{{ s | lower }}{{ s | title }}{{ s | capitalize }}{{ u | upper }}{{ u | title }}{{ 'straße ǆ ﬁ' | upper }}{{ 'ΑΣ ΑΣΑ Σ' | lower }}{{ 'İ' | lower }}{{ "they're bill's-friends (from) [the] {uk} <x>" | title }}
{{ s.upper() }}{{ s.lower() }}{{ s.title() }}{{ s.capitalize() }}{{ s.swapcase() }}{{ 'ßẞ'.casefold() }}{{ "they're bill's".title() }}{{ 'ǆ'.title() }}{{ 'ﬁx'.capitalize() }}
[{{ ws | trim }}][{{ ws.strip() }}][{{ ws.lstrip() }}][{{ ws.rstrip() }}][{{ 'xxaxx' | trim('x') }}][{{ 'xyaxy'.strip('xy') }}][{{ '\u2003a\u2028\x1c\x85'.strip() }}][{{ '\u200ba\u200b'.strip() }}]
{{ s.split(',') }}{{ s.split() }}{{ 'a  b c'.split(' ') }}{{ ' a  b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a b c'.split(none, 1) }}{{ 'a b  c'.rsplit(none, 1) }}{{ ''.split() }}{{ ''.split(',') }}{{ 'abc'.split('') if false else '' }}{{ 'a<x>b<x>c'.split('<x>')[-1] }}{{ 'a b'.split(maxsplit=1) }}{{ 'x'.split(sep=',') }}
{{ 'abc'.split('') }}
{{ multi.splitlines() }}{{ multi.splitlines(true) }}{{ 'a\x0bb\x0cc\x1cd\u2028e'.splitlines() }}{{ 'a\n'.splitlines() }}{{ ''.splitlines() }}
{{ s.startswith('Hell') }}{{ s.startswith(('x', 'H')) }}{{ s.endswith('d') }}{{ s.startswith('e', 1) }}{{ s.endswith('H', 0, 1) }}{{ s.startswith('') }}{{ ''.startswith('a') }}{{ u.startswith('é', 1) }}
{{ s.startswith(1) }}
{{ s.find('o') }}{{ s.rfind('o') }}{{ s.find('zz') }}{{ s.index('l') }}{{ u.find('日') }}{{ s.find('o', 5) }}{{ s.find('') }}{{ s.count('l') }}{{ s.count('') }}{{ u.count('l') }}{{ 'aaaa'.count('aa') }}
{{ s.index('zz') }}
{{ s.replace('l', 'L') }}{{ s.replace('l', 'L', 1) }}{{ 'aaa'.replace('a', 'aa') }}{{ 'abc'.replace('', '-') }}{{ s | replace('l', '1', 2) }}{{ 123 | replace(2, 'x') }}{{ 'abc'.replace('', '-', 2) }}{{ u.replace('', '.') }}
{{ 'abc'.partition('b') }}{{ 'abc'.partition('x') }}{{ 'abcb'.rpartition('b') }}{{ 'abc'.rpartition('x') }}{{ 'prefix-a'.removeprefix('prefix-') }}{{ 'a.txt'.removesuffix('.txt') }}{{ 'a'.removesuffix('') }}
[{{ 'a'.center(4) }}][{{ 'a'.center(5, '*') }}][{{ 'ab'.center(5) }}][{{ 'a'.ljust(3, '.') }}][{{ 'a'.rjust(3) }}][{{ '42'.zfill(5) }}][{{ '-42'.zfill(5) }}][{{ 'abc'.zfill(2) }}][{{ 'x' | center(7) }}][{{ 'a\tb'.expandtabs(4) }}][{{ 'é'.center(4, '日') }}]
{{ ','.join(['a', 'b']) }}{{ ''.join([]) }}{{ '-'.join('abc') }}{{ ', '.join(d) }}{{ '|'.join(xs | map('string')) }}
{{ ','.join([1]) }}
{{ ','.join(5) }}
{{ 'abc'.isalpha() }}{{ 'a1'.isalnum() }}{{ '12'.isdigit() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ '½'.isnumeric() }}{{ '一'.isnumeric() }}{{ ' \t'.isspace() }}{{ 'Abc Def'.istitle() }}{{ 'ABC'.isupper() }}{{ 'abc'.islower() }}{{ 'aé'.isascii() }}{{ ''.isascii() }}{{ 'a_1'.isidentifier() }}{{ '1a'.isidentifier() }}{{ 'a\n'.isprintable() }}{{ ''.isalpha() }}{{ 'é日'.isalpha() }}{{ 'ª'.islower() }}
{{ 'Ab c'.istitle() }}{{ 'AB'.istitle() }}{{ "It'S".istitle() }}{{ 'ǅ'.isupper() }}{{ '1A'.istitle() }}
{{ '{} {}'.format(1, 'a') }}{{ '{0}{1}{0}'.format('x', 'y') }}{{ '{a}-{b}'.format(a=1, b=2) }}{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }}{{ '{:05d}|{:+d}|{:x}|{:#x}|{:b}|{:,}'.format(42, 42, 255, 255, 5, 1234567) }}{{ '{:.2f}|{:8.3f}|{:e}|{:g}|{:.1%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.256) }}{{ '{{}}'.format() }}{{ '{!r}'.format('a') }}{{ '{0.name}'.format(users[0]) if false else '' }}{{ '{0[name]}'.format(users[0]) }}{{ '{:>{w}}'.format('a', w=4) }}{{ '{:.2}'.format('abc') }}{{ '{:_}'.format(1234567) }}{{ '{}'.format(none) }}{{ '{:10}|'.format(3) }}{{ '{:10}|'.format('a') }}{{ '{}{}'.format(true, [1]) }}{{ '{:d}'.format(true) }}{{ '{:X}'.format(255) }}{{ '{:o}'.format(8) }}{{ '{:c}'.format(65) }}
{{ '{}'.format() }}
{{ '{a}'.format() }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{:d}'.format('a') }}
{{ '%s %d %i' % ('a', 3, 4.7) }}{{ '%5s|%-5s|%05d|%+d|% d' % ('a', 'b', 42, 42, 42) }}{{ '%.2f|%8.3f|%e|%g|%G' % (3.14159, 2.5, 12345.678, 0.00001, 1e20) }}{{ '%x|%X|%o|%#x|%c|%c' % (255, 255, 8, 255, 65, 'z') }}{{ '%%' % () }}{{ '%(a)s-%(b)d' % {'a': 1, 'b': 2} }}{{ '%r|%s' % ('a', none) }}{{ '%s' % [1, 2] }}{{ '%s' % {'a': 1} }}{{ '%.3s|' % 'abcdef' }}{{ '%*d' % (5, 42) }}{{ '%-*d|' % (5, 42) }}{{ '%.3d' % 5 }}{{ 'a%sb' % 'x' }}{{ '%s' % 'é' }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%y' % 1 }}
{{ '%' % 1 }}
{{ '%(a)s' % 1 }}
{{ '%(a)s' % {'b': 1} }}
{{ 'a' % 1 }}
{{ 'a' % [1] }}{{ 'a' % {} }}{{ 'a' % missing }}{{ 'a' % range(2) }}{{ [] | truncate(6) }}{{ xs | truncate(9) }}
{{ xs | truncate(3, leeway=0) }}
{{ 5 | truncate }}
{{ ['a'] | indent }}
{{ '日' | filesizeformat }}
{{ none | filesizeformat }}
{% set g = 5 | select('odd') %}{% set h = xs | map('nope') %}{% set j = xs | items %}{% set k = 5 | batch(2) %}{% set l = 5 | unique %}never looked at
{% set g = 5 | select('odd') %}{{ g | list }}
{{ '%s, %s!' | format('a', 'b') }}{{ '%(x)s' | format(x=1) }}
{{ xs | length }}{{ s | length }}{{ u | length }}{{ d | length }}{{ '' | length }}{{ range(4) | length }}{{ d.items() | length }}{{ xs | count }}
{{ 5 | length }}
{{ none | length }}
{{ (xs | map('string')) | length }}
{{ (xs | reverse) | length }}
{{ xs | first }}{{ xs | last }}{{ [] | first }}{{ [] | last }}{{ 'abc' | first }}{{ 'abc' | last }}{{ d | first }}{{ d | last }}{{ d.items() | first }}{{ (xs | map('string')) | first }}{{ range(3) | last }}{{ d.values() | last }}
{{ xs | map('string') | last }}
{{ xs | join(', ') }}{{ xs | join }}{{ users | join(', ', attribute='name') }}{{ users | join(',', 'age') }}{{ 'abc' | join('-') }}{{ [1, none, 'a', true] | join('|') }}{{ d | join(',') }}
{{ 5 | join }}
{{ xs | sort }}{{ xs | sort(reverse=true) }}{{ words | sort }}{{ words | sort(case_sensitive=true) }}{{ users | sort(attribute='age') | map(attribute='name') | list }}{{ users | sort(attribute='age,name') | map(attribute='name') | list }}{{ users | sort(true, attribute='name') | map(attribute='name') | list }}{{ d | sort }}{{ 'hello' | sort }}
{{ mixed | sort }}
{{ words | unique | list }}{{ words | unique(true) | list }}{{ users | unique(attribute='age') | map(attribute='name') | list }}{{ [1, 1.0, true, 2] | unique | list }}
{{ xs | min }}{{ xs | max }}{{ words | min }}{{ words | max(case_sensitive=true) }}{{ [] | min }}{{ (users | max(attribute='age')).name }}{{ (users | min(attribute='name')).name }}{{ 'hello' | max }}
{{ xs | sum }}{{ users | sum(attribute='age') }}{{ [] | sum }}{{ [1.5, 2] | sum }}{{ xs | sum(start=10) }}{{ [[1], [2]] | sum(start=[]) }}
{{ words | sum }}
{{ words | map('upper') | list }}{{ users | map(attribute='name') | list }}{{ users | map(attribute='zz') | list }}{{ users | map(attribute='zz', default='-') | list }}{{ xs | map('string') | join('+') }}{{ [[1, 2], [3]] | map('length') | list }}{{ [' a ', 'b '] | map('trim') | list }}{{ words | map('replace', 'p', 'P') | list }}{{ [[1, 2], [3, 4]] | map(attribute=0) | list }}{{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }}{{ ['1', '2'] | map('int') | sum }}{{ [{'a': 1}] | map('tojson') | list }}
{{ words | map('nope') | list }}
{{ words | map | list }}
{{ words | map(attribute='x', foo=1) | list }}
{{ 5 | map('string') | list }}
{{ xs | select('odd') | list }}{{ xs | reject('odd') | list }}{{ mixed | select('string') | list }}{{ mixed | select | list }}{{ mixed | reject('none') | list | length }}{{ xs | select('>', 1) | list }}{{ xs | select('in', [1, 2]) | list }}{{ xs | select('divisibleby', 3) | list }}{{ words | reject('equalto', 'fig') | list }}{{ xs | select('==', 2) | list }}
{{ users | selectattr('on') | map(attribute='name') | list }}{{ users | rejectattr('on') | map(attribute='name') | list }}{{ users | selectattr('age', 'gt', 30) | list | length }}{{ users | selectattr('city', 'equalto', 'Rome') | first }}{{ users | selectattr('zz', 'defined') | list }}{{ users | selectattr('zz', 'undefined') | list | length }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | join(',') }}{{ users | selectattr('name', 'in', ['Bob']) | list | length }}
{{ xs | select('nope') | list }}
{{ (users | selectattr('on') | list)[0].name }}
{% set g = xs | map('string') %}{{ g | list }}{{ g | list }}
{% set g = xs | select('odd') %}{% if g %}truthy{% endif %}{{ g[0] }}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% else %}used up{% endfor %}
{% if [] | select('odd') %}truthy{% else %}falsy{% endif %}{% if none_list | map('upper') %}truthy{% endif %}
{{ d | items | list }}{% for k, v in d | items %}{{ k }}{{ v }}{% endfor %}{{ d | dictsort }}{{ d | dictsort(reverse=true) }}{{ {'B': 1, 'a': 2} | dictsort }}{{ {'B': 1, 'a': 2} | dictsort(true) }}{{ {'x': 2, 'y': 1} | dictsort(by='value') }}{{ {'x': 2, 'y': 1} | dictsort(false, 'value') }}
{{ xs | items | list }}
{{ d | dictsort(by='zz') }}
{{ xs | dictsort }}
{{ d.keys() }}{{ d.values() }}{{ d.items() }}{{ d.keys() | list }}{{ 'b' in d.keys() }}{{ ('b', 1) in d.items() }}{{ 1 in d.values() }}{{ d.copy() }}{{ d.keys() | first }}
{{ d.keys()[0] }}|{{ d.pop }}|{{ d.update is defined }}|{{ xs.append is defined }}|{{ xs.sort is defined }}|{{ s.__class__ is defined }}|{{ d._private }}
{{ d.pop('a') }}
{{ d.update({'z': 1}) }}
{{ xs.append(1) }}
{{ d.setdefault('a', 1) }}
{{ s.__class__.__name__ }}
{{ ''.__class__ }}|{{ d.__len__ }}|{{ xs.__doc__ }}
{{ xs.index(2) }}{{ xs.count(1) }}{{ (1, 2, 1).count(1) }}{{ (1, 2).index(2) }}{{ xs.copy() }}{{ xs.index(1, 1) }}
{{ xs.index(99) }}
{{ xs | list }}{{ 'abc' | list }}{{ d | list }}{{ range(3) | list }}{{ (1, 2) | list }}{{ missing | list }}
{{ 5 | list }}
{{ xs | reverse | list }}{{ 'abc' | reverse }}{{ u | reverse }}{{ (1, 2) | reverse | list }}{{ d | reverse | list }}{{ (xs | map('string')) | reverse }}{{ range(3) | reverse | list }}
{{ 5 | reverse }}
{{ xs | batch(2) | list }}{{ xs | batch(2, 0) | list }}{{ range(7) | slice(3) | list }}{{ range(7) | slice(3, 'x') | list }}{{ [] | batch(2) | list }}
{% for g in users | groupby('city') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}{% for k, v in users | groupby('age') %}{{ k }}={{ v | map(attribute='name') | join(',') }};{% endfor %}{{ users | groupby('city', case_sensitive=true) | map('first') | list }}{{ [{'a': 1}, {}] | groupby('a', default=0) | map(attribute='grouper') | list }}
{{ [1, 'a'] | groupby('x') }}
{{ '3' | int }}{{ '3.7' | int }}{{ 'x' | int }}{{ 'x' | int(9) }}{{ '0x1f' | int(base=16) }}{{ '1f' | int(0, 16) }}{{ '101' | int(base=2) }}{{ 3.99 | int }}{{ -3.99 | int }}{{ none | int }}{{ true | int }}{{ ' 42 ' | int }}{{ '1_000' | int }}{{ '1e3' | int }}{{ '' | int }}{{ [] | int(5) }}{{ '99999999999999999999' | int }}{{ 1e20 | int }}{{ '0b11' | int(base=0) }}{{ '-7' | int }}{{ '+7' | int }}
{{ '3' | float }}{{ '3.5' | float }}{{ 'x' | float }}{{ 'x' | float(1.5) }}{{ 3 | float }}{{ 'inf' | float }}{{ 'nan' | float }}{{ '1e5' | float }}{{ ' 2 ' | float }}{{ none | float }}{{ true | float }}{{ '.5' | float }}{{ '5.' | float }}{{ '1_0.5' | float }}
{{ 42.55 | round }}{{ 42.55 | round(1) }}{{ 42.55 | round(1, 'floor') }}{{ 42.55 | round(1, 'ceil') }}{{ 2.5 | round }}{{ 3.5 | round }}{{ 42 | round }}{{ 1234 | round(-2) }}{{ 1250 | round(-2) }}{{ 1350 | round(-2) }}{{ -2.5 | round }}{{ 2.675 | round(2) }}{{ 1234.5 | round(-2) }}{{ 42.1 | round | int }}{{ 5 | round(1, 'floor') }}{{ -1.5 | round(0, 'ceil') }}
{{ 'a' | round }}
{{ 1 | round(1, 'x') }}
{{ -5 | abs }}{{ 5.5 | abs }}{{ -5.5 | abs }}{{ true | abs }}
{{ 'a' | abs }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\nb\n' | indent(2) }}|{{ '' | indent }}|{{ 'a' | indent(width=3, first=true) }}|{{ multi | indent(1) }}
{{ 5 | indent }}
{{ 'foo bar baz qux' | truncate(9) }}|{{ 'foo bar baz qux' | truncate(9, true) }}|{{ 'foo bar baz qux' | truncate(11) }}|{{ 'foo bar baz qux' | truncate(11, false, '...', 0) }}|{{ 'foo bar' | truncate(5, true, '', 0) }}|{{ u | truncate(8, true, '…', 0) }}|{{ 'abcdefghijkl' | truncate(5, leeway=0) }}
{{ 'foo bar' | truncate(1) }}
{{ 'a b  c_d é-f' | wordcount }}{{ '' | wordcount }}
{{ html | e }}|{{ html | escape }}|{{ html | e | e }}|{{ html | safe }}|{{ html | forceescape }}|{{ html | e | forceescape }}|{{ ('<' | safe) ~ '<' }}|{{ ('<' | safe) + '<' }}|{{ '<' + ('<' | safe) }}|{{ ('<%s>' | safe) % '<' }}|{{ [html | safe] }}|{{ ('a' | safe) * 2 }}|{{ ('<b>' | safe).upper() }}|{{ ('<{}>' | safe).format('<') }}|{{ ('<b>' | safe) | upper }}|{{ ('a<b' | safe).split('<') }}|{{ ('a' | safe).join(['<', '>']) }}|{{ ['<', '>' | safe] | join('&') }}|{{ ('<' | safe) | string is escaped }}|{{ ('<' | safe)[0] + '<' }}|{{ ('a' | safe).replace('a', '<') }}
{{ ('<' | safe) == '<' }}{{ ('<' | safe) in ['<'] }}{{ {'<': 1}['<' | safe] }}{{ '<' | safe | length }}{{ '<' | safe | tojson }}{{ ' < ' | safe | trim ~ '|' }}{{ '<' | safe | replace('<', 'x') }}
{{ 'a b/c?d=é&f' | urlencode }}|{{ {'a b': 1, 'c': 'd/e'} | urlencode }}|{{ [('x', 'y z'), ('k', 1)] | urlencode }}|{{ 5 | urlencode }}
{{ d | tojson }}|{{ mixed | tojson }}|{{ u | tojson }}|{{ u | tojson(ensure_ascii=true) }}|{{ d | tojson(indent=2) }}|{{ mixed | tojson(indent=4) }}|{{ d | tojson(sort_keys=true) }}|{{ d | tojson(separators=(',', ':')) }}|{{ d | tojson(indent=1, separators=(', ', ' = ')) }}|{{ [] | tojson(indent=2) }}|{{ {} | tojson(indent=2) }}|{{ [[], {}] | tojson(indent=2) }}|{{ q | tojson }}|{{ html | tojson }}|{{ '\x00\x1f\x7f\u2028/\\' | tojson }}|{{ none | tojson }}|{{ 1.0 | tojson }}|{{ 1e400 | tojson }}|{{ (1, 2) | tojson }}|{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}|{{ d | tojson(true) }}|{{ d | tojson(indent='\t') }}|{{ d | tojson(indent=0) }}|{{ 99999999999999999999 | tojson }}
{{ tools | tojson(indent=4) }}
{{ tools[0] | tojson }}
{{ {'a': missing} | tojson }}
{{ range(3) | tojson }}
{{ (xs | map('string')) | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ d.keys() | tojson }}
{{ {1: 1, 'a': 2} | tojson(sort_keys=true) }}
{{ 'x' | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ none | default('d') }}{{ none | default('d', true) }}{{ missing | default }}{{ missing | d('z') }}{{ d.zz | default(d.a) }}{{ 0 | default(5, boolean=true) }}{{ false | default('x') }}
{{ 5 | string }}{{ 5 | string + 'a' }}{{ [1] | string }}{{ none | string }}{{ 2.50 | string }}
{{ d | attr('b') }}|{{ d | attr('keys') is callable }}|{{ s | attr('upper') is callable }}|{{ (s | attr('upper'))() }}
{{ 123456 | filesizeformat }}{{ 1 | filesizeformat }}{{ 999 | filesizeformat }}{{ 1048576 | filesizeformat(true) }}{{ 1e30 | filesizeformat }}{{ 0 | filesizeformat }}
{{ range(3) }}{{ range(1, 4) }}{{ range(0, 10, 3) | list }}{{ range(5, 0, -2) | list }}{{ range(0) | list }}{{ 2 in range(3) }}{{ range(3) == range(0, 3) }}{{ range(10, 0) | length }}{{ range(3)[-1] }}
{{ range(1, 10, 0) }}
{{ range(1000000) }}
{{ range('a') }}
{{ range() }}
{{ range(1.5) }}
{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}{{ dict([('k', 'v')]) }}{{ dict() }}{{ dict(d, b=5) }}
{{ dict(5) }}
{{ raise_exception('boom') }}
{{ raise_exception('line ' ~ i ~ ' ' ~ u) }}
{% if messages[0].role != 'user' %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}
{{ raise_exception() }}
{{ strftime_now('%Y-%m-%d %H:%M:%S') }}|{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%A, %B %d, %j %p %I %y %% %a') }}|{{ strftime_now('') }}|{{ strftime_now('日 %Y') }}|{{ strftime_now('%-d %-m') }}
{% generation %}a{{ i }}{% set inside = 1 %}{% endgeneration %}[{{ inside }}]{% for x in xs %}{%- generation -%} {{ x }}{{ loop.index }} {%- endgeneration -%}{% endfor %}
{% generation %}a
{% for x in xs %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{{ users[0] }}{{ users[0]['name'] }}{{ messages[-1].content[0].text }}{{ messages[2].tool_calls[0].function.arguments.q }}{{ messages[1]['content'] }}{{ messages | length }}{{ messages[1:] | length }}{{ messages[0]['role'] == 'system' }}
{% set loop_messages = messages[1:] if messages[0].role == 'system' else messages %}{% for message in loop_messages %}{{ loop.index0 }}{{ message['role'] }}{% endfor %}
{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] {% if message.content is string %}{{ message.content | trim }}{% else %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>{% endif %}{% endfor %}{% endif %} [/INST]{% elif message.role == 'assistant' and message.tool_calls is defined and message.tool_calls is not none %}[TOOL_CALLS] [{% for tc in message.tool_calls %}{% set out = tc.function | tojson %}{{ out[:-1] }}{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}{% endif %}{% endfor %}
{%- macro render_type(t) -%}{%- if t.type == 'string' -%}string{%- elif t.type == 'integer' -%}{%- if t.enum -%}{{ t.enum | join(' | ') }}{%- else -%}number{%- endif -%}{%- elif t.type == 'object' -%}{ {%- for k, v in t.properties.items() -%}{{ k }}{{ '?' if k not in (t.required or []) }}: {{ render_type(v) }}{{ ', ' if not loop.last }}{%- endfor -%} }{%- else -%}any{%- endif -%}{%- endmacro -%}{{ render_type(tools[0].function.parameters) }}
{%- set ns = namespace(is_first=false, is_tool=false, system_prompt='') -%}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- set ns.system_prompt = ns.system_prompt + message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{% if add_generation_prompt and not ns.is_tool %}{{ '<｜Assistant｜>' }}{% endif %}
{% set tool_names = [] %}{% for t in tools %}{% set tool_names = tool_names + [t.function.name] %}{% endfor %}{{ tool_names }}
{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content | length }} {{ messages | map(attribute='role') | unique | join(',') }}
{{- "<|im_start|>" + messages[1].role + '\n' + messages[1].content + '<|im_end|>' + '\n' }}
{{ messages[2].content is none }}{{ messages[2].content | default('x', true) }}{{ 'content' in messages[0] }}{{ messages[0].get('name', 'anon') }}{{ messages[0].name is defined }}{{ messages[0]['name'] is not defined }}
{% if %}
{% if x
{{ x
{{ x }
{{ x | }}
{{ x. }}
{{ x.1a }}
{{ x[ }}
{{ (1 }}
{{ 1) }}
{{ [1) }}
{{ {1} }}
{{ {'a' 1} }}
{{ 1 + }}
{{ * 2 }}
{{ 'abc }}
{{ "abc }}
{{ ! }}
{{ a $ b }}
{{ a ? b }}
{{ 1 2 }}
{{ x is }}
{{ x is not }}
{{ f(a b) }}
{{ f(a=1, 2) }}
{{ f(**a, b) }}
{{ f(*a, *b) }}
{% for %}{% endfor %}
{% for x %}{% endfor %}
{% for x in %}{% endfor %}
{% for x in xs %}
{% for x in xs %}{% endif %}
{% for 1 in xs %}{% endfor %}
{% for x.y in xs %}{% endfor %}
{% for loop in xs %}{% endfor %}
{% if a %}{% else %}{% else %}{% endif %}
{% if a %}{% elif %}{% endif %}
{% if a %}
{% endif %}
{% else %}
{% set %}
{% set 1 = 2 %}
{% set true = 2 %}
{% set x = %}
{% set x %}
{% set a.b.c = 1 %}
{% macro %}{% endmacro %}
{% macro m %}{% endmacro %}
{% macro m( %}{% endmacro %}
{% macro m(1) %}{% endmacro %}
{% call m %}{% endcall %}
{% nope %}
{% do x.append(1) %}
{% %}
{% 1 %}
{# unfinished
{% raw %} unfinished
{{ '\x4' }}
{{ '\u12' }}
{{ x if }}
{{ if x }}
{{ x else y }}
{% if a if b else c %}{% endif %}
line one
line two {{ missing.attribute }}
{{ s if s is defined and s is not none and s | length > 3 else 'short' }}{{ (x | int) + 1 }}{{ x | int + 1 }}{{ '%.1f' % x }}{{ i ~ '/' ~ xs | length }}
{{ 'a' in ['a', 'b'] and 'c' not in ['a'] }}{{ not 'a' in ['a'] }}{{ 'a' == 'a' and 1 or 2 }}{{ (1, 2) == (1, 2) }}{{ {'a': 1} == {'a': 1.0} }}{{ [1, [2]] == [1, [2]] }}{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}{{ 'a' != 'b' }}{{ none == none }}{{ none == false }}{{ '' == none }}
{{ self is defined }}|{{ caller is defined }}|{{ loop is defined }}|{{ varargs is defined }}|{{ cycler is defined if false else '' }}
{% print 1, 'a' %}{% print xs %}
{{ namespace is callable }}{{ raise_exception is callable }}{{ strftime_now is defined }}
{{ 'é'.encode is defined }}{{ 'a'.format is callable }}{{ s.split.x is defined }}
{% set x = 5 %}{% macro m(x=x) %}{{ x }}{% endmacro %}[{{ m() }}]
{% macro m(a, caller=none) %}{{ a }}{% endmacro %}{{ m(1) }}
{{ (1.0).is_integer() }}{{ (1.5).is_integer() }}
{{ xs == [3, 1, 2] }}{{ xs is eq [3, 1, 2] }}{{ d.items() | list == [('b', 1), ('a', 'x'), ('c', none)] }}{{ d | items | first }}
{{ [3, 'a'][0] }}{{ {'k': [1]}.k[0] }}{{ (xs)[0] }}{{ ('a' ~ 'b')[1] }}{{ (xs | sort)[0] }}{{ 'abc'[1:][0] }}{{ "%s" % xs[0] }}{{ [1, 2, 3] | map('string') | join }}{{ -xs[0] }}{{ - xs | sum }}
'''


def snippets():
    """One template per line: what a line break cuts apart is an unfinished template, worth its row as well."""
    return SNIPPETS.strip("\n").split("\n")


MULTI_LINE = ["a {# comment #} b{#- x -#} c {# multi\nline #}\nd\n  {# indented #}\ne", "{% if true %}\n  x\n{% endif %}\ny\n  {% if true %}\n  x\n  {% endif %}\ny {% if true %} z {% endif %} w\n", "  {{ 1 }}\n  {{- 2 }}\n  {{ 3 -}}\n  {{ 4 }}\n",
  "{%+ if true +%}\na{% endif %}\nb   {%- set q = 1 -%}   c\n   {%+ set q = 1 %}\nd\n", "{% set a = 1 -%}\n\n   x {{- ' y ' -}} z\n<{{ 'a' }}\n>{{ 'b' }}\n\n\n", "{%- for x in xs %}\n- {{ x }}\n{%- endfor %}\n\nend\n\n", "{% for x in xs -%}\n{{ x }}\n{%- if not loop.last %}, {% endif -%}\n{% endfor %}\n",
  "\n\n{% if true %}\r\n  a\r\n{% endif %}\rb\n", "\t {% set x = 1 %} \n\t {{ x }}\t\n", "{% raw %}\n  {{ x }}\n{% endraw %}\nafter", "  {% raw %}  a  {% endraw %}  \nb", "{% macro m() %}\n  body\n{% endmacro %}\n[{{ m() }}]", "{{ 'line\\\njoined' }}{{ 'raw\nbreak' }}", "{% filter indent(2) %}a\nb{% endfilter %}",
  "{% macro r(v, d=0) %}{% if v is mapping %}{% for k, x in v.items() %}{{ '  ' * d }}{{ k }}:\n{{ r(x, d + 1) }}{% endfor %}{% else %}{{ '  ' * d }}{{ v }}\n{% endif %}{% endmacro %}{{ r(nested) }}", "line one\nline two {{ missing.attribute }}\nline three", "a\n{% if true %}\n{% if true %}\n    {% if true %}\nx\n    {% endif %}\n{% endif %}\n{% endif %}\nz",
  "{#- a -#}\n\n  b  {#+ c +#}\nd", "{{\n  1\n  +\n  2\n}}\n\n", "{% if true\n   and true %}\nx{% endif\n%}\ny", "x{{ '' }}\n{%- if true %} a {% endif -%}\n y", "{% set x %}\n  block\n{% endset %}\n[{{ x }}]", "{% for i in range(2) %}\n\n{{ i }}\n\n{% endfor %}\n\nend", "\u00a0 {%- if true %}\u3000{% endif %}\u2028{%- if true %}a{% endif -%}\u2003b",
  "text only\n", "\n", "", "{{ u }}\n\n", "a\x00b{{ 1 }}", "{% for m in messages %}\n  {% if m.role == 'user' %}\n    {{ m.content }}\n  {% endif %}\n{% endfor %}\n", "{{ a\n.b }}", "{{ 1 }}\n{{ 2 }}\n{% if %}", "{{ 1 }}\n\n{{ 1 + }}", "{{ [1,\n2)\n}}", "{%- if true -%}\n\n\n{%- endif -%}\n\nx"]


def render(source):
    template = _cached_compile_jinja_template(source)
    template.globals["strftime_now"] = lambda form: datetime.datetime(2025, 12, 5, 7, 8, 9).strftime(form)
    return template.render(**INPUT)


def main():
    rows = []
    for source in snippets() + MULTI_LINE:
        row = {"template": source}
        try:
            row["text"] = render(source)
        except jinja2.exceptions.TemplateError as error:
            row["error"] = str(error)
        except Exception as error:
            row["python_error"] = f"{type(error).__name__}: {error}"
        rows.append(row)
    versions = {"jinja2": jinja2.__version__, "transformers": transformers.__version__, "python": sys.version.split()[0]}
    with open(sys.argv[1], "w") as out:
        json.dump({"versions": versions, "input": INPUT, "rows": rows}, out, ensure_ascii=True, indent=0)
    counts = {key: sum(key in row for row in rows) for key in ("text", "error", "python_error")}
    print(len(rows), "templates", counts)


main()
