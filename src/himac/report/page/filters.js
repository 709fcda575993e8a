// Which episodes are listed, and in which order.

const NOTHING = {run: '', split: '', label: '', kind: '', outcome: '', stop: '', from: '', to: '', least: '', most: '', query: ''};

const COLUMNS = [
  ['task', 'task', (n) => word('task', n), (n) => word('task', n)],
  ['type', 'type', (n) => word('kind', n), (n) => word('kind', n)],
  ['outcome', 'outcome', (n) => (index.success[n] ? '✓ solved' : '✗ failed'), (n) => index.success[n]],
  ['stop', 'stop reason', (n) => word('stop', n), (n) => word('stop', n)],
  ['return', 'return', (n) => index.return[n].toFixed(2), (n) => index.return[n]],
  ['steps', 'steps', (n) => String(index.steps[n]), (n) => index.steps[n]],
  ['iteration', 'iteration', (n) => String(sourceOf(n).iteration ?? '–'), (n) => sourceOf(n).iteration ?? -1],
  ['from', 'from', (n) => (page.runs.length > 1 ? `${runOf(n).name}: ` : '') + sourceOf(n).label, (n) => sourceOf(n).label],
];

function passes(n, wanted) {
  const source = sourceOf(n);
  const number = (text, otherwise) => (text === '' ? otherwise : Number(text));
  return (wanted.run === '' || source.run === Number(wanted.run))
    && (wanted.split === '' || source.split === wanted.split)
    && (wanted.label === '' || source.label === wanted.label)
    && (wanted.kind === '' || word('kind', n) === wanted.kind)
    && (wanted.outcome === '' || index.success[n] === Number(wanted.outcome))
    && (wanted.stop === '' || word('stop', n) === wanted.stop)
    && (source.iteration ?? -1) >= number(wanted.from, -Infinity) && (source.iteration ?? -1) <= number(wanted.to, Infinity)
    && index.return[n] >= number(wanted.least, -Infinity) && index.return[n] <= number(wanted.most, Infinity);
}

function sorted(numbers, {key, down}) {
  const value = COLUMNS.find(([name]) => name === key)[3];
  const sign = down ? -1 : 1;
  return [...numbers].sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one === other) return a - b;
    return (one < other ? -1 : 1) * sign;
  });
}

/** The controls; `act` is called after every change of `wanted`. */
function filterControls(wanted, act) {
  const values = (name) => [...new Set(page.sources.map((source) => source[name]))].filter(Boolean).map((value) => [value, value]);
  const known = (name) => [...index.words[name]].sort().map((value) => [value, value]);
  const any = [['', 'any']];
  const set = (name) => (value) => { wanted[name] = value; act(); };
  const pick = (name, label, options) => (options.length > 1 ? choice(label, [...any, ...options], wanted[name], set(name)) : null);
  const input = (name, label, type) => field(label, el('input', {type, step: 'any', value: wanted[name], on: {input: (event) => set(name)(event.target.value.trim())}}));
  return el('div', {class: 'filters', role: 'search', 'aria-label': 'Filter episodes'},
    input('query', 'search in all texts', 'search'),
    pick('run', 'run', page.runs.length > 1 ? page.runs.map((run, n) => [n, run.name]) : []),
    pick('split', 'split', values('split')), pick('label', 'from', values('label')), pick('kind', 'type', known('kind')),
    pick('outcome', 'outcome', [[1, 'solved'], [0, 'failed']]), pick('stop', 'stop reason', known('stop')),
    input('from', 'iteration from', 'number'), input('to', 'iteration to', 'number'),
    input('least', 'return from', 'number'), input('most', 'return to', 'number'));
}
