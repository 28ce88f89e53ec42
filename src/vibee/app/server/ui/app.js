// SPDX-License-Identifier: Apache-2.0
// The page of vibee serve: chat, what the engine does right now, techniques. No library, nothing from elsewhere.
'use strict';

const $ = (id) => document.getElementById(id);
const make = (tag, text, more) => Object.assign(document.createElement(tag), text === undefined ? {} : {textContent: text}, more);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
const say = (text) => { $('state').textContent = text; };

async function fetchJson(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ? body.error.message : response.statusText);
  return body;
}

// Pages of the page.
const tabs = [...document.querySelectorAll('[role=tab]')];
function open(tab) {
  for (const t of tabs) {
    const chosen = t === tab;
    t.setAttribute('aria-selected', chosen);
    t.tabIndex = chosen ? 0 : -1;
    $(t.getAttribute('aria-controls')).hidden = !chosen;
  }
  location.hash = tab.getAttribute('aria-controls');
  tab.id === 'tab-live' ? live.start() : live.stop();
  if (tab.id === 'tab-techniques') techniques();
}
tabs.forEach((tab, i) => {
  tab.addEventListener('click', () => open(tab));
  tab.addEventListener('keydown', (e) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[e.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    next.focus();
    open(next);
  });
});

// Chat.
const messages = [];
const chats = new Set();  // models with a chat template
let request = null;

function show() {
  const list = $('messages');
  list.replaceChildren(...messages.map((m, i) => {
    const item = make('li', undefined, {className: m.error ? 'error' : m.role});
    const who = make('div', undefined, {className: 'who'});
    who.append(make('span', m.role === 'user' ? 'You' : m.model || 'Model'));
    if (!request && m.role === 'user') {
      const edit = make('button', 'Edit', {type: 'button'});
      edit.addEventListener('click', () => {
        $('prompt').value = m.content;
        messages.splice(i);
        show();
        $('prompt').focus();
      });
      who.append(edit);
    }
    item.append(who);
    if (m.tokens && m.tokens.length) m.tokens.forEach((t) => item.append(tokenSpan(t)));
    else item.append(m.content);
    return item;
  }));
  $('send').disabled = Boolean(request);
  $('stop').disabled = !request;
  $('again').disabled = Boolean(request) || messages.length < 2;
}

function tokenSpan(t) {
  const p = Math.exp(t.logprob);
  const percent = (x) => (100 * Math.exp(x)).toFixed(1) + ' %';
  return make('span', t.token, {
    className: 'token ' + (p > 0.8 ? 'sure' : p > 0.3 ? 'likely' : 'unsure'),
    title: t.top_logprobs.map((a) => JSON.stringify(a.token) + '  ' + percent(a.logprob)).join('\n') + '\ndrawn: ' + percent(t.logprob),
  });
}

function question() {
  const number = (id) => $(id).value === '' ? undefined : Number($(id).value);
  const system = $('system').value.trim();
  const talk = messages.filter((m) => !m.error).map(({role, content}) => ({role, content}));
  const body = {model: $('model').value, messages: system ? [{role: 'system', content: system}, ...talk] : talk, stream: true, stream_options: {include_usage: true},
    temperature: number('temperature'), top_p: number('top_p'), max_tokens: number('max_tokens'), seed: number('seed')};
  if (!chats.has(body.model)) {  // no template: it continues the text
    delete body.messages;
    body.prompt = talk.map((m) => m.content).join('');
  } else if ($('probabilities').checked) Object.assign(body, {logprobs: true, top_logprobs: 5});
  return body;
}

async function answer() {
  const answer = {role: 'assistant', content: '', tokens: [], model: $('model').value};
  const body = question();
  request = new AbortController();
  messages.push(answer);
  show();
  const item = $('messages').lastElementChild;
  const started = performance.now();
  let first = 0, count = 0;
  try {
    const response = await fetch(body.prompt === undefined ? '/v1/chat/completions' : '/v1/completions', {method: 'POST', body: JSON.stringify(body), signal: request.signal});
    if (!response.ok) throw new Error((await response.json()).error.message);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let held = ''; ;) {
      const {value, done} = await reader.read();
      if (done) break;
      const lines = (held + value).split('\n');
      held = lines.pop();
      for (const line of lines) {
        if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
        const event = JSON.parse(line.slice(6));
        if (event.error) throw new Error(event.error.message);
        if (event.usage) count = event.usage.completion_tokens;
        for (const choice of event.choices) {
          first = first || performance.now();
          const text = (choice.delta ? choice.delta.content : choice.text) || '';
          answer.content += text;
          if (choice.logprobs) {
            answer.tokens.push(...choice.logprobs.content);
            choice.logprobs.content.forEach((t) => item.append(tokenSpan(t)));
          } else if (text) {
            item.append(text);
          }
        }
      }
    }
    const seconds = (performance.now() - first) / 1000;
    $('speed').textContent = `first token after ${Math.round(first - started)} ms, ${count} tokens` + (count > 1 ? ` at ${((count - 1) / seconds).toFixed(1)} a second` : '');
  } catch (e) {
    if (e.name !== 'AbortError') messages.push({role: 'assistant', content: e.message, error: true});
    else $('speed').textContent = 'stopped';
  }
  if (!answer.content) messages.splice(messages.indexOf(answer), 1);
  request = null;
  show();
}

$('ask').addEventListener('submit', (e) => {
  e.preventDefault();
  const text = $('prompt').value.trim();
  if (!text || request) return;
  messages.push({role: 'user', content: text});
  $('prompt').value = '';
  answer();
});
$('prompt').addEventListener('keydown', (e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) $('ask').requestSubmit(); });
document.addEventListener('keydown', (e) => { if (e.key === 'Escape' && request) request.abort(); });
$('stop').addEventListener('click', () => request && request.abort());
$('again').addEventListener('click', () => {
  while (messages.length && messages[messages.length - 1].role !== 'user') messages.pop();
  if (messages.length) answer();
});
$('clear').addEventListener('click', () => { if (request) request.abort(); messages.length = 0; $('speed').textContent = ''; show(); });

// Live.
function canvas(id) {
  const c = $(id), scale = window.devicePixelRatio || 1;
  const width = c.clientWidth, height = Number(c.getAttribute('height'));
  if (c.width !== Math.round(width * scale)) {
    c.width = Math.round(width * scale);
    c.height = Math.round(height * scale);
    c.style.height = height + 'px';
  }
  const g = c.getContext('2d');
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  return {g, width, height};
}

const live = {
  source: null, steps: [],
  start() {
    if (this.source) return;
    this.source = new EventSource('/admin/events?model=' + encodeURIComponent($('model').value));
    this.source.onmessage = (e) => this.draw(JSON.parse(e.data));
    this.source.onerror = () => say('no live data');
  },
  stop() {
    if (this.source) this.source.close();
    this.source = null;
  },
  draw(s) {
    say('');
    const fixed = (x, n) => Number(x).toFixed(n);
    const tiles = {Running: s.running, Waiting: s.waiting, 'Tokens a second': fixed(s.rate, 1),
      'Of this machine': s.limit > 0 ? Math.round(100 * s.rate / s.limit) + ' %' : '–',
      'First token, p95': fixed(s.ttft_p95_ms, 0) + ' ms', 'Between tokens, p95': fixed(s.itl_p95_ms, 0) + ' ms',
      'Pages in use': `${s.pages.locked} of ${s.pages.total}`, 'Reused': s.prompt_tokens ? Math.round(100 * s.reused_tokens / s.prompt_tokens) + ' %' : '–'};
    $('tiles').replaceChildren(...Object.entries(tiles).map(([name, value]) => {
      const tile = make('div');
      tile.append(make('dt', name), make('dd', String(value)));
      return tile;
    }));
    this.steps.push(...s.steps);
    this.steps.splice(0, this.steps.length - 400);
    this.drawSteps();
    this.drawPages(s.map);
    this.drawTree(s.tree);
    $('sequences').tBodies[0].replaceChildren(...s.sequences.map((q) => {
      const row = make('tr');
      for (const x of [q.id, q.prompt, q.reused, q.computed, `${q.generated} of ${q.max}`, q.state]) row.append(make('td', String(x)));
      return row;
    }));
  },
  drawSteps() {
    const {g, width, height} = canvas('steps');
    const shown = this.steps.slice(-Math.floor(width / 4));
    const rows = Math.max(1, ...shown.map(([p, d]) => p + d)), longest = Math.max(1, ...shown.map((x) => x[2]));
    shown.forEach(([prompt, decode], i) => {
      const d = decode / rows * (height - 14), p = prompt / rows * (height - 14);
      g.fillStyle = colour('decode');
      g.fillRect(i * 4, height - d, 3, d);
      g.fillStyle = colour('prompt');
      g.fillRect(i * 4, height - d - p, 3, p);
    });
    g.strokeStyle = colour('text');
    g.beginPath();
    shown.forEach((x, i) => g.lineTo(i * 4 + 1.5, height - x[2] / longest * (height - 14)));
    g.stroke();
    g.fillStyle = colour('dim');
    g.font = '11px system-ui, sans-serif';
    g.fillText(`${rows} rows, ${longest.toFixed(1)} ms`, 4, 11);
  },
  drawPages(map) {
    // A run-length text: letter and count, e.g. "f120c16l3".
    const runs = [...map.matchAll(/([a-z])(\d+)/g)].map((m) => [m[1], Number(m[2])]);
    const total = runs.reduce((n, r) => n + r[1], 0);
    const {g, width, height} = canvas('pages');
    let side = 12;
    while (side > 1 && Math.ceil(total / Math.floor(width / side)) * side > height) side -= 0.5;
    const across = Math.floor(width / side);
    let at = 0;
    for (const [kind, count] of runs) {
      g.fillStyle = colour({f: 'free', c: 'cached', l: 'locked', s: 'shared'}[kind]);
      for (const end = at + count; at < end; ++at) g.fillRect(at % across * side, Math.floor(at / across) * side, side - (side > 3 ? 1 : 0), side - (side > 3 ? 1 : 0));
    }
  },
  drawTree(nodes) {
    const {g, width, height} = canvas('tree');
    const children = new Map();
    nodes.forEach((n, i) => children.set(n[0], [...(children.get(n[0]) || []), i]));
    const weight = (i) => nodes[i][1] + (children.get(i) || []).reduce((sum, c) => sum + weight(c), 0);
    const all = (children.get(-1) || []).reduce((sum, c) => sum + weight(c), 0) || 1;
    const newest = Math.max(1, ...nodes.map((n) => n[2]));
    const place = (i, x, span, depth) => {
      if (span < 0.5 || depth * 16 > height) return;
      g.globalAlpha = 0.3 + 0.7 * nodes[i][2] / newest;
      g.fillStyle = colour('accent');
      g.fillRect(x, depth * 16, Math.max(1, span - 1), 14);
      g.globalAlpha = 1;
      if (span > 40) {
        g.fillStyle = colour('on-accent');
        g.font = '11px system-ui, sans-serif';
        g.fillText(nodes[i][1] + ' tokens', x + 4, depth * 16 + 11);
      }
      const w = weight(i);
      for (const c of children.get(i) || []) {
        const part = span * weight(c) / Math.max(1, w - nodes[i][1]);
        place(c, x, part, depth + 1);
        x += part;
      }
    };
    let x = 0;
    for (const root of children.get(-1) || []) {
      const span = width * weight(root) / all;
      place(root, x, span, 0);
      x += span;
    }
  },
};

// Techniques.
async function techniques() {
  try {
    const [config, rows] = await Promise.all([fetchJson('/admin/config?model=' + encodeURIComponent($('model').value)), fetchJson('/admin/techniques')]);
    $('switches').replaceChildren(...Object.entries(config.choices).map(([name, choices]) => {
      const label = make('label', name + ' '), select = make('select', undefined, {id: 'switch-' + name});
      for (const c of choices) select.append(make('option', c, {value: c, selected: c === config[name]}));
      select.addEventListener('change', async () => {
        try {
          await fetchJson('/admin/config', {method: 'PUT', body: JSON.stringify({model: $('model').value, [name]: select.value})});
          say(`${name}: ${select.value}`);
        } catch (e) { say(e.message); }
        techniques();
      });
      label.append(select);
      return label;
    }));
    $('rows').tBodies[0].replaceChildren(...rows.techniques.map((t) => {
      const row = make('tr');
      for (const x of [t.version, t.summary || t.name, t.promise, t.switches, t.status]) row.append(make('td', x));
      return row;
    }));
  } catch (e) { say(e.message); }
}

(async () => {
  try {
    const list = await fetchJson('/v1/models');
    for (const m of list.data) {
      if (m.task === 'generate') $('model').append(make('option', m.id, {value: m.id}));
      if (m.chat) chats.add(m.id);
    }
  } catch (e) { say(e.message); }
  $('model').addEventListener('change', () => { if (live.source) { live.stop(); live.steps = []; live.start(); } });
  const wanted = tabs.find((t) => t.getAttribute('aria-controls') === location.hash.slice(1));
  show();
  if (wanted) open(wanted);
  $('prompt').focus();
})();
