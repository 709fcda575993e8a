// The learning curves: which figures there are, against what, and smoothed or not.

const FIGURES = [
  ['success', 'Success', percent, 'episodes solved'],
  ['score', "The benchmark's score", plain, 'score'],
  ['return_mean', 'Return', plain, 'mean return'],
  ['plan_length', 'Blueprint length', plain, 'sub-goals'],
  ['plan_validity', 'Valid blueprints', percent, 'of the blueprints'],
  ['distinct_blueprints', 'Distinct blueprints of a task', percent, 'of those sampled'],
  ['degenerate_fraction', 'Degenerate groups (all returns equal)', percent, 'of the groups'],
  ['invalid_fraction', 'Rejected actions', percent, 'of the actions'],
  ['steps_mean', 'Steps of an episode', plain, 'environment steps'],
  ['kl', 'KL divergence from the starting model', plain, 'nats'],
  ['approx_kl', 'KL divergence from the sampling policy', plain, 'nats'],
  ['entropy', 'Entropy', plain, 'nats'],
  ['clip_fraction', 'Clipped tokens', percent, 'of the tokens'],
  ['logprob_gap_mean', 'Gap between sampler and trainer (mean)', plain, 'nats'],
  ['logprob_gap_max', 'Gap between sampler and trainer (largest)', plain, 'nats'],
  ['grad_norm', 'Gradient norm', plain, 'before clipping'],
  ['lr', 'Learning rate', plain, 'rate'],
];

function showCurves() {
  const offered = Object.entries(AXES).filter(([axis]) => page.runs.some((run) => [run.eval, ...Object.values(run.train)]
    .some((columns) => columns[axis] && columns[axis].some((value) => value !== null && value > 0))));
  if (!offered.length) return;
  let axis = remembered('axis', offered[0][0]);
  if (!offered.some(([name]) => name === axis)) [[axis]] = offered;
  let smooth = page.runs.some((run) => Object.values(run.train).some((columns) => columns.iteration && columns.iteration.length > 20));
  const charts = FIGURES.map(([key, title, unit, yName]) => chart(title, () => linesOf(key, axis, smooth), unit, () => AXES[axis], yName));
  const redraw = () => charts.forEach((one) => one.update());
  const grid = el('div', {class: 'charts'}, charts.map((one) => one.figure));
  section('curves', 'Learning curves', el('div', {class: 'controls'},
    radios('axis', 'Against', offered, axis, (value) => { axis = remember('axis', value); redraw(); }),
    el('label', null, el('input', {type: 'checkbox', checked: smooth, on: {change: (event) => { smooth = event.target.checked; redraw(); }}}),
      ' smooth training lines')),
  page.series.some((series) => series.runs.length > 1)
    ? el('p', {class: 'note'}, 'Lines are means over seeds; the band is one sample standard deviation to either side.') : null, grid);
  redraw();
}
