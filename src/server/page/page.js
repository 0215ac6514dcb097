// The chat page. What the model writes reaches the document as text nodes only, never as HTML.
'use strict';

const element = id => document.getElementById(id);
const storageKey = 'qround-chat';
const settingFields = ['system', 'temperature', 'top_p', 'max_tokens', 'tools'];

let messages = [];  // as the API takes them, plus `error` for answers that failed
let running = null; // the AbortController of the answer under way

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

// Inline Markdown: `code`, **bold**, *emphasis*. Everything else is text.
function appendInline(parent, text) {
  const pattern = /(`[^`\n]+`)|(\*\*[^*\n]+\*\*)|(\*[^*\s][^*\n]*\*)/g;
  let last = 0;
  for (const match of text.matchAll(pattern)) {
    parent.append(text.slice(last, match.index));
    const [whole, code, bold] = match;
    if (code) parent.append(make('code', whole.slice(1, -1)));
    else if (bold) parent.append(make('strong', whole.slice(2, -2)));
    else parent.append(make('em', whole.slice(1, -1)));
    last = match.index + whole.length;
  }
  parent.append(text.slice(last));
}

// Blocks: fenced code, headings, lists, paragraphs.
function renderMarkdown(parent, text) {
  const lines = text.split('\n');
  let paragraph = [];
  let list = null;
  const closeParagraph = () => {
    if (!paragraph.length) return;
    const node = make('p');
    appendInline(node, paragraph.join('\n'));
    parent.append(node);
    paragraph = [];
  };
  for (let i = 0; i < lines.length; ++i) {
    const line = lines[i];
    if (line.startsWith('```')) {
      closeParagraph();
      list = null;
      const code = [];
      for (++i; i < lines.length && !lines[i].startsWith('```'); ++i) code.push(lines[i]);
      const block = make('pre');
      block.append(make('code', code.join('\n')));
      parent.append(block);
      continue;
    }
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    const item = /^\s*(?:[-*]|(\d+)[.)])\s+(.*)/.exec(line);
    if (item) {
      closeParagraph();
      const tag = item[1] ? 'ol' : 'ul';
      if (!list || list.tagName.toLowerCase() !== tag) {
        list = make(tag);
        if (item[1]) list.start = Number(item[1]);
        parent.append(list);
      }
      const node = make('li');
      appendInline(node, item[2]);
      list.append(node);
      continue;
    }
    list = null;
    if (heading) {
      closeParagraph();
      const node = make('h' + Math.min(6, heading[1].length + 1));
      appendInline(node, heading[2]);
      parent.append(node);
    } else if (line.trim() === '') {
      closeParagraph();
    } else {
      paragraph.push(line);
    }
  }
  closeParagraph();
}

function fillArticle(article, message) {
  const wasOpen = article.querySelector('details')?.open ?? false;
  article.replaceChildren();
  article.className = message.error ? 'error' : message.role;
  if (message.reasoning_content) {
    const details = make('details');
    details.open = wasOpen;
    details.append(make('summary', message.content || message.tool_calls ? 'Thought' : 'Thinking…'),
                   make('div', message.reasoning_content));
    article.append(details);
  }
  if (message.role === 'assistant') renderMarkdown(article, message.content || '');
  else article.append(message.role === 'tool' ? 'Result: ' + message.content : message.content);
  for (const call of message.tool_calls || []) {
    const block = make('pre');
    block.append(make('code', `${call.function.name}(${call.function.arguments})`));
    article.append(block);
  }
  if (message.error) article.append(make('p', message.error));
}

function atBottom() {
  const main = element('messages');
  return main.scrollHeight - main.scrollTop - main.clientHeight < 80;
}

function scrollDown() {
  element('messages').scrollTop = element('messages').scrollHeight;
}

function showAll() {
  element('messages').replaceChildren(...messages.map(message => {
    const article = make('article');
    fillArticle(article, message);
    return article;
  }));
  scrollDown();
}

function settings() {
  const values = Object.fromEntries(settingFields.map(name => [name, element(name).value]));
  values.thinking = element('thinking').checked;
  return values;
}

function save() {
  try {
    localStorage.setItem(storageKey, JSON.stringify({messages, settings: settings()}));
  } catch {
    element('status').textContent = 'The browser keeps no more: this conversation is not saved.';
  }
}

function restore() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem(storageKey));
  } catch {
    return;
  }
  if (!stored) return;
  messages = Array.isArray(stored.messages) ? stored.messages : [];
  for (const name of settingFields) element(name).value = stored.settings?.[name] ?? '';
  element('thinking').checked = stored.settings?.thinking ?? true;
}

function requestBody() {
  const given = settings();
  const body = {
    messages: messages.filter(message => !message.error).map(({role, content, reasoning_content,
                                                              tool_calls, tool_call_id}) =>
      ({role, content, reasoning_content, tool_calls, tool_call_id})),
    stream: true,
    stream_options: {include_usage: true},
    chat_template_kwargs: {enable_thinking: given.thinking},
  };
  if (given.system.trim()) body.messages.unshift({role: 'system', content: given.system});
  for (const name of ['temperature', 'top_p', 'max_tokens']) {
    if (given[name] !== '') body[name] = Number(given[name]);
  }
  if (given.tools.trim()) body.tools = JSON.parse(given.tools);
  return body;
}

// The data of each server-sent event.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    buffer += value;
    for (let end; (end = buffer.indexOf('\n\n')) >= 0; buffer = buffer.slice(end + 2)) {
      const event = buffer.slice(0, end);
      if (event.startsWith('data: ')) yield event.slice(6);
    }
  }
}

function applyDelta(message, delta) {
  if (delta.reasoning_content) {
    message.reasoning_content = (message.reasoning_content || '') + delta.reasoning_content;
  }
  if (delta.content) message.content += delta.content;
  for (const call of delta.tool_calls || []) {
    message.tool_calls ||= [];
    const known = message.tool_calls[call.index];
    if (!known) {
      message.tool_calls[call.index] = {id: call.id, type: 'function',
                                        function: {...call.function}};
    } else {
      known.function.arguments += call.function.arguments;
    }
  }
}

function statusText(timings) {
  let text = `${timings.predicted_n} tokens, ${timings.predicted_per_second.toFixed(1)} per second`;
  if (timings.draft_n > 0) {
    text += `; drafts accepted: ${(100 * timings.draft_n_accepted / timings.draft_n).toFixed(0)} %`;
  }
  return text;
}

async function answer() {
  const message = {role: 'assistant', content: ''};
  const article = make('article');
  element('messages').append(article);
  running = new AbortController();
  element('send').hidden = true;
  element('stop').hidden = false;
  const begin = performance.now();
  let pieces = 0;
  try {
    const response = await fetch('/v1/chat/completions', {
      method: 'POST', signal: running.signal,
      headers: {'Content-Type': 'application/json'}, body: JSON.stringify(requestBody()),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const data of events(response)) {
      if (data === '[DONE]') break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const follow = atBottom();
      if (chunk.choices.length) {
        applyDelta(message, chunk.choices[0].delta);
        ++pieces;
        fillArticle(article, message);
        const seconds = (performance.now() - begin) / 1000;
        element('status').textContent = `${(pieces / seconds).toFixed(1)} pieces per second`;
      }
      if (chunk.timings) element('status').textContent = statusText(chunk.timings);
      if (follow) scrollDown();
    }
  } catch (error) {
    if (error.name === 'AbortError') element('status').textContent = 'Stopped.';
    else message.error = String(error.message || error);
  }
  running = null;
  element('send').hidden = false;
  element('stop').hidden = true;
  messages.push(message);
  fillArticle(article, message);
  save();
  askForResults(message);
}

// The page has no tools of its own: whoever reads it says what a call gave.
function askForResults(message) {
  for (const call of message.tool_calls || []) {
    const article = make('article', undefined, 'tool');
    const label = make('label', `Result of ${call.function.name}`);
    const input = make('textarea');
    input.rows = 2;
    const send = make('button', 'Give the result');
    send.type = 'button';
    send.addEventListener('click', () => {
      messages.push({role: 'tool', tool_call_id: call.id, content: input.value});
      save();
      showAll();
      const open = message.tool_calls.some(other =>
        !messages.some(result => result.tool_call_id === other.id));
      if (open) askForResults({tool_calls: message.tool_calls.filter(other =>
        !messages.some(result => result.tool_call_id === other.id))});
      else answer();
    });
    label.append(input);
    article.append(label, send);
    element('messages').append(article);
  }
  if (atBottom() || message.tool_calls) scrollDown();
}

element('form').addEventListener('submit', event => {
  event.preventDefault();
  const text = element('input').value.trim();
  if (!text || running) return;
  element('input').value = '';
  messages.push({role: 'user', content: text});
  save();
  showAll();
  answer();
});
element('input').addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element('form').requestSubmit();
  }
});
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') running?.abort();
});
element('stop').addEventListener('click', () => running?.abort());
element('new').addEventListener('click', () => {
  running?.abort();
  messages = [];
  save();
  showAll();
  element('status').textContent = '';
  element('input').focus();
});
element('export').addEventListener('click', () => {
  const link = make('a');
  link.href = 'data:application/json;charset=utf-8,' +
      encodeURIComponent(JSON.stringify({messages, settings: settings()}, null, 2));
  link.download = 'conversation.json';
  link.click();
});
element('open-settings').addEventListener('click', () => {
  const panel = element('settings');
  panel.hidden = !panel.hidden;
  element('open-settings').setAttribute('aria-expanded', String(!panel.hidden));
});
element('settings').addEventListener('change', save);

restore();
showAll();
fetch('/v1/models').then(response => response.json()).then(list => {
  element('model').textContent = list.data[0].id;
}).catch(() => {
  element('model').textContent = 'not ready';
});
element('input').focus();
