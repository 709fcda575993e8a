// What the runs were made with: where their configurations differ, all keys, and which splits were evaluated.

function showConfiguration() {
  const keys = [...new Set(page.runs.flatMap((run) => Object.keys(run.config)))];
  const parts = [];
  if (page.runs.length > 1) {
    const different = keys.filter((key) => new Set(page.runs.map((run) => run.config[key])).size > 1);
    parts.push(different.length ? table(['key', ...page.runs.map((run) => run.name)],
      different.map((key) => [key, ...page.runs.map((run) => run.config[key] ?? '–')]), 'Where the runs differ') : el('p', null, 'The configurations are the same.'));
  }
  const splits = new Map();
  for (const source of page.sources) {
    if (source.split_hash) splits.set(JSON.stringify([page.runs[source.run].name, source.split, source.split_hash]), source.count);
  }
  const rows = [...splits].map(([key, episodes]) => [...JSON.parse(key), episodes]);
  if (rows.length) {
    parts.push(table(['run', 'split', 'hash', 'episodes of an evaluation'], rows, 'Evaluated splits'));
    if (new Set(rows.map((row) => row[2])).size > 1) parts.push(el('p', {class: 'bad'}, 'The splits differ: success of these runs cannot be compared.'));
  }
  if (keys.length) {
    parts.push(page.runs.map((run) => el('details', null, el('summary', {class: 'foreign'}, `All settings of ${run.name}`),
      table(['key', 'value'], Object.entries(run.config), `Settings of ${run.name}`))));
  }
  if (parts.length) section('configuration', 'Configurations and splits', parts);
}
