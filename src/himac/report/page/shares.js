// Success by type, where time and tokens went, why episodes ended, how long contexts were.

const bar = (share) => {
  const filled = el('span');
  filled.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return el('span', {class: 'bar', 'aria-hidden': 'true'}, filled);
};

const solved = (numbers) => numbers.filter((n) => index.success[n]).length;

/** Rows by task type of all episodes of a source, the worst first: `{kind, count, solved, reasons}`. */
const byKind = (source) => [...source.kinds].sort((a, b) => a.solved / a.count - b.solved / b.count);

const evaluations = () => page.sources.map((source, n) => ({...source, n})).filter((source) => !source.training);

function showTypes() {
  const found = evaluations();
  if (!found.length) return;
  const body = el('div');
  const draw = (source) => {
    const rows = byKind(page.sources[source]).map(({kind, count, solved: won, reasons}) => [kind, count, percent(won / count), bar(won / count),
      reasons.map(([reason, times]) => `${reason} ${times}`).join(', ') || 'none']);
    replace(body, table(['type', 'episodes', 'success', '', 'failures by stop reason'], rows, sourceName(page.sources[source])),
      el('ul', {class: 'note'}, [...new Set(page.sources[source].kinds.flatMap((one) => one.reasons.map(([reason]) => reason)))].filter((reason) => REASONS[reason])
        .map((reason) => el('li', null, `${reason}: ${REASONS[reason]}`))));
  };
  section('types', 'Success by task type', el('div', {class: 'controls'},
    choice('Evaluation', found.map((source) => [source.n, sourceName(source)]), last(found).n, draw)), body);
  draw(last(found).n);
}

function showTime() {
  const rows = page.runs.filter((run) => Object.values(run.spent).some((spent) => spent > 0));
  const tokens = page.runs.filter((run) => Object.values(run.train).some((columns) => columns.forward_tokens));
  if (!rows.length && !tokens.length) return;
  const made = rows.map((run) => {
    const total = Object.values(run.spent).reduce((a, b) => a + b, 0);
    return table(['part', 'time', 'share', ''], [...Object.entries(run.spent).map(([part, spent]) =>
      [part, duration(spent), percent(spent / total), bar(spent / total)]), ['all', duration(total), percent(1), '']], `Time: ${run.name}`);
  });
  const sum = (columns, key) => (columns[key] || []).reduce((a, b) => a + (b || 0), 0);
  const used = tokens.flatMap((run) => Object.entries(run.train).map(([phase, columns]) => [page.runs.length > 1 ? `${run.name}: ${phase}` : phase,
    whole(sum(columns, 'trained_tokens')), whole(sum(columns, 'forward_tokens')),
    whole(sum(columns, 'rows')), whole(sum(columns, 'rows_skipped'))]));
  section('time', 'Where time and tokens went', made,
    used.length ? table(['phase', 'trained tokens', 'tokens of the forward pass', 'rows', 'rows skipped'], used, 'Tokens of the updates') : null);
}

function showContexts() {
  if (!page.contexts.length) return;
  const rows = page.contexts.map((told) => [page.runs.length > 1 ? `${page.runs[told.run].name}: ${told.role}` : told.role, told.count,
    whole(told.median), whole(told.high), whole(told.most), told.limit || '–']);
  const ended = page.runs.map((run) => [run.name, ...['eval', 'train'].map((kind) => {
    const columns = kind === 'eval' ? [run.eval] : Object.values(run.train);
    const found = columns.flatMap((one) => (one['stop/context_limit'] || []).filter((value) => value !== null));
    return found.length ? percent(Math.max(...found)) : 'none';
  })]);
  section('contexts', 'Context lengths', table(['context', 'recorded', 'median', '95 %', 'longest', 'limit'], rows, 'Tokens of a context in recorded training episodes'),
    table(['run', 'in an evaluation', 'in a training phase'], ended, 'Largest share of episodes whose context did not fit'));
}

function showStops() {
  const reasons = new Set();
  const rows = page.runs.flatMap((run) => [['evaluation', run.eval], ...Object.entries(run.train).map(([phase, columns]) => [`training, ${phase}`, columns])]
    .filter(([, columns]) => columns.iteration && columns.iteration.length)
    .flatMap(([name, columns]) => ['first', 'last'].map((when) => {
      const at = when === 'first' ? 0 : columns.iteration.length - 1;
      const shares = Object.entries(columns).filter(([key, list]) => key.startsWith('stop/') && list[at] !== null)
        .map(([key, list]) => [key.slice(5), list[at]]);
      shares.forEach(([reason]) => reasons.add(reason));
      return {name: `${page.runs.length > 1 ? `${run.name}: ` : ''}${name}, ${when} (iteration ${columns.iteration[at]})`, shares: new Map(shares)};
    })));
  if (!reasons.size) return;
  const header = [...reasons].sort();
  section('stops', 'Why episodes ended', table(['episodes of', ...header],
    rows.map((row) => [row.name, ...header.map((reason) => percent(row.shares.get(reason) ?? 0))]), 'Share of the episodes by stop reason'),
  el('ul', {class: 'note'}, header.filter((reason) => REASONS[reason]).map((reason) => el('li', null, `${reason}: ${REASONS[reason]}`))));
}
