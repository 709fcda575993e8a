// How blueprints change in training: figures over the evaluations, and one task's blueprints and executions side by side.

/** Numbers of the sub-goals that are not in a longest common subsequence with the former blueprint. */
function changedGoals(former, goals) {
  const best = Array.from({length: former.length + 1}, () => new Array(goals.length + 1).fill(0));
  for (let a = former.length - 1; a >= 0; a -= 1) {
    for (let b = goals.length - 1; b >= 0; b -= 1) {
      best[a][b] = former[a] === goals[b] ? best[a + 1][b + 1] + 1 : Math.max(best[a + 1][b], best[a][b + 1]);
    }
  }
  const changed = new Set();
  let a = 0;
  let b = 0;
  while (b < goals.length) {
    if (a < former.length && former[a] === goals[b]) { a += 1; b += 1; }
    else if (a < former.length && best[a + 1][b] >= best[a][b + 1]) a += 1;
    else { changed.add(b); b += 1; }
  }
  return changed;
}

/** Evaluated tasks with a blueprint in at least two evaluations of a run: task -> numbers of its episodes, in order. */
function tasksOver(run) {
  const found = new Map();
  for (let n = 0; n < count; n += 1) {
    const source = sourceOf(n);
    if (source.run !== run || source.training || source.iteration === null) continue;
    const own = found.get(word('task', n)) || [];
    if (!own.some((other) => index.source[other] === index.source[n])) own.push(n);
    found.set(word('task', n), own);
  }
  return new Map([...found].filter(([, numbers]) => numbers.length > 1 && numbers.some((n) => index.goals[n])));
}

function evolution(numbers) {
  const chosen = new Set(numbers.length > 3 ? [numbers[0], numbers[Math.floor(numbers.length / 2)], last(numbers)] : numbers);
  const body = el('div');
  const head = (n) => `iteration ${sourceOf(n).iteration}${sourceOf(n).label === 'evaluation' ? '' : ` (${sourceOf(n).label})`}`;
  async function draw() {
    const shown = numbers.filter((n) => chosen.has(n));
    if (!shown.length) { replace(body, el('p', null, 'Choose at least one iteration.')); return; }
    const episodes = await Promise.all(shown.map(happened));
    replace(body, el('div', {class: 'columns', tabindex: 0, role: 'group', 'aria-label': 'Blueprints'}, shown.map((n, at) => el('div', null,
      el('h4', null, head(n)), el('p', null, outcome(n), ` return ${index.return[n].toFixed(2)}`),
      blueprintView(episodes[at].blueprint, at ? changedGoals(episodes[at - 1].blueprint, episodes[at].blueprint) : new Set())))),
    el('h4', null, 'Executions'), await comparison(shown, head));
  }
  const boxes = numbers.map((n) => el('label', null, el('input', {type: 'checkbox', checked: chosen.has(n), on: {change: (event) => {
    if (event.target.checked) chosen.add(n); else chosen.delete(n);
    draw();
  }}}), ` ${head(n)}`));
  draw();
  return el('div', null, el('fieldset', null, el('legend', null, 'Evaluations'), boxes), body);
}

function planFigures() {
  const lines = (key) => () => page.runs.map((run, n) => {
    const told = page.blueprints.filter((one) => one.run === n && one.label === 'evaluation' && one[key] !== null);
    return {x: told.map((one) => one.iteration), y: told.map((one) => one[key]), label: run.name, colour: `c${n % 8}`, dash: Math.floor(n / 8), points: true, seeds: 1};
  });
  const axis = () => 'iterations';
  return [chart('Sub-goals of a blueprint', lines('goals'), plain, axis, 'mean number'),
    chart('Tasks with another blueprint than at the start', lines('changed'), percent, axis, 'of the tasks'),
    chart('Blueprints with a step that checks', lines('checking'), percent, axis, 'of the blueprints'),
    chart('Different blueprints over all tasks', lines('distinct'), percent, axis, 'of the blueprints')];
}

function showBlueprints() {
  const runs = page.runs.map((run, n) => [n, tasksOver(n)]).filter(([, tasks]) => tasks.size);
  if (!runs.length) return;
  const body = el('div');
  const controls = el('div', {class: 'controls'});
  const pick = (run) => {
    const tasks = runs.find(([n]) => n === Number(run))[1];
    const [before, after] = [([, numbers]) => numbers[0], ([, numbers]) => last(numbers)];
    const replanned = (one) => Number(index.plan[before(one)] !== index.plan[after(one)]);
    const learned = (one) => 2 * (index.success[after(one)] - index.success[before(one)]) + replanned(one);
    const ordered = [...tasks].sort((a, b) => learned(b) - learned(a));
    const name = ([task, numbers]) => `${numbers.map((n) => (index.success[n] ? '✓' : '✗')).join('')} ${task}`;
    const show = (task) => replace(body, evolution(tasks.get(task)));
    replace(controls, runs.length > 1 ? choice('Run', runs.map(([n]) => [n, page.runs[n].name]), run, pick) : null,
      choice('Task', ordered.map((one) => [one[0], name(one)]), ordered[0][0], show));
    show(ordered[0][0]);
  };
  const figures = planFigures();
  section('blueprints', 'Blueprints in training', el('p', {class: 'note'},
    'Checking steps are sub-goals that begin with check, verify, confirm, ensure, make sure or see if. Marked sub-goals are not in the blueprint to their left.'),
  el('div', {class: 'charts'}, figures.map((one) => one.figure)), controls, body);
  figures.forEach((one) => one.update());
  pick(runs[0][0]);
}
