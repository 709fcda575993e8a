// At a glance: what a person wants to know first, in sentences.

/** Success of the first and the last evaluation of a run. */
function change(run) {
  const values = (run.eval.success || []).map((value, n) => [value, n]).filter(([value]) => value !== null);
  return values.length ? {first: values[0][0], last: last(values)[0], times: values.length, best: Math.max(...values.map(([value]) => value))} : null;
}

function factsOf(run, number) {
  const facts = [];
  const told = change(run);
  if (told && told.times > 1) {
    facts.push(['Success went from ', el('strong', null, percent(told.first)), ' to ', el('strong', {class: told.last >= told.first ? 'good' : 'bad'}, percent(told.last)),
      ` (best ${percent(told.best)}) over ${whole(last(run.eval.env_steps))} environment steps and ${whole(last(run.eval.iteration))} iterations.`]);
  } else if (told) facts.push([`One evaluation: ${percent(told.last)} of the tasks solved.`]);
  const final = last(evaluations().filter((source) => source.run === number));
  const worst = final ? byKind(final)[0] : null;
  if (worst && worst.reasons.length) {
    const [reason, times] = worst.reasons[0];
    facts.push(['The worst type at the end is ', el('strong', {class: 'foreign'}, worst.kind), `: ${percent(worst.solved / worst.count)} of ${worst.count} solved. `
      + `${times} of its ${worst.count - worst.solved} failures have the stop reason `, el('code', null, reason), REASONS[reason] ? `: ${REASONS[reason]}. ` : '. ',
    el('button', {type: 'button', on: {click: () => showFailures(final.n, worst.kind)}}, `Show all ${worst.count - worst.solved} failures of this type`)]);
  }
  const plans = page.blueprints.filter((told_) => told_.run === number);
  if (plans.length > 1) facts.push(planChange(plans[0], last(plans)));
  const parts = Object.entries(run.spent).sort((a, b) => b[1] - a[1]);
  const total = parts.reduce((sum, [, spent]) => sum + spent, 0);
  if (total) facts.push([`It took ${duration(total)}: `, parts.filter(([, spent]) => spent > 0).map(([part, spent], n) => `${n ? ', ' : ''}${part} ${percent(spent / total)}`), '.']);
  if (run.warnings.length) facts.push([`${run.warnings.length} warnings while training:`, el('ul', null, run.warnings.slice(-5).map(([iteration, text]) => el('li', {class: 'foreign'}, `iteration ${iteration}: ${text}`)))]);
  return facts;
}

/** What the planner does otherwise than before training. */
function planChange(first, final) {
  const verbs = [...new Set([...Object.keys(first.verbs), ...Object.keys(final.verbs)])]
    .map((verb) => [verb, (final.verbs[verb] || 0) - (first.verbs[verb] || 0)]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .filter(([, more]) => Math.abs(more) >= 0.05).slice(0, 4);
  return [`The planner, from iteration ${first.iteration} to ${final.iteration}: ${percent(final.changed)} of the tasks have another blueprint; `
    + `${plain(first.goals)} → ${plain(final.goals)} sub-goals`,
  verbs.length ? `; in a blueprint, ${verbs.map(([verb, more]) => `${more > 0 ? '+' : '−'}${Math.abs(more).toFixed(2)} sub-goals that begin with “${verb}”`).join(', ')}` : '', '. ',
  el('a', {href: '#blueprints'}, 'Compare blueprints'), '.'];
}

function showOverview() {
  const many = page.runs.length > 1;
  const rows = page.runs.map((run) => {
    const told = change(run) || {};
    const total = Object.values(run.spent).reduce((a, b) => a + b, 0);
    return [run.name, run.seed ?? '–', percent(told.first), percent(told.last), percent(told.best),
      whole(last(run.eval.env_steps || []) || 0), whole(last(run.eval.tokens || []) || 0), total ? duration(total) : '–'];
  });
  const facts = page.runs.map((run, number) => [run, factsOf(run, number)]).filter(([, told]) => told.length);
  section('glance', 'At a glance',
    many ? table(['run', 'seed', 'success before', 'after', 'best', 'environment steps', 'tokens', 'time'], rows, 'Runs') : null,
    facts.map(([run, told]) => {
      const list = el('ul', {class: 'facts'}, told.map((fact) => el('li', null, fact)));
      return many ? el('details', {open: facts.length < 3}, el('summary', {class: 'foreign'}, run.name), list) : list;
    }));
}
