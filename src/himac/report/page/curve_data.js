// From the columns of the runs to the lines of a chart: one line a series and phase, with its spread over seeds.

const AXES = {env_steps: 'environment steps', tokens: 'sampled tokens', seconds: 'seconds of training', iteration: 'iterations'};
const HALF_LIFE = 7;

/** Points of a run's column against an axis, without gaps and with a growing x; later values replace earlier ones. */
function points(columns, axis, key) {
  const found = new Map();
  const values = columns[key] || [];
  values.forEach((value, n) => {
    const x = columns[axis] && columns[axis][n];
    if (value !== null && x !== null && x !== undefined) found.set(x, value);
  });
  const x = [...found.keys()].sort((a, b) => a - b);
  return {x, y: x.map((at) => found.get(at))};
}

/** Exponential average whose weights halve every HALF_LIFE values, without start-up bias. */
function smoothed(values) {
  const decay = 0.5 ** (1 / HALF_LIFE);
  let total = 0;
  let weight = 0;
  return values.map((value) => {
    total = decay * total + value;
    weight = decay * weight + 1;
    return total / weight;
  });
}

/** Linear between the points, level before and after them. */
function valueAt({x, y}, at) {
  if (at <= x[0]) return y[0];
  for (let n = 1; n < x.length; n += 1) if (at <= x[n]) return y[n - 1] + (y[n] - y[n - 1]) * (at - x[n - 1]) / (x[n] - x[n - 1]);
  return last(y);
}

/** Mean and sample standard deviation over runs, on every x of any run that all of them reach. */
function meanLine(lines) {
  if (lines.length === 1) return lines[0];
  const low = Math.max(...lines.map((line) => line.x[0]));
  const high = Math.min(...lines.map((line) => last(line.x)));
  const x = [...new Set([low, high, ...lines.flatMap((line) => line.x)])].filter((at) => at >= low && at <= high).sort((a, b) => a - b);
  const made = {x, y: [], low: [], high: []};
  for (const at of x) {
    const values = lines.map((line) => valueAt(line, at));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
    made.y.push(mean);
    made.low.push(mean - spread);
    made.high.push(mean + spread);
  }
  return made;
}

/** Lines of one figure: evaluations with points, training by phase. */
function linesOf(key, axis, smooth) {
  const made = [];
  page.series.forEach((series, place) => {
    const phases = [...new Set(series.runs.flatMap((run) => Object.keys(page.runs[run].train)))];
    ['eval', ...phases].forEach((phase, style) => {
      const lines = series.runs.map((run) => points(phase === 'eval' ? page.runs[run].eval : page.runs[run].train[phase] || {}, axis, key))
        .filter((line) => line.x.length)
        .map((line) => (smooth && phase !== 'eval' && line.y.length > 2 ? {x: line.x, y: smoothed(line.y)} : line));
      if (!lines.length) return;
      const name = phase === 'eval' ? 'evaluation' : `training, ${phase}`;
      const one = page.series.length === 1;
      made.push({
        ...meanLine(lines),
        label: one ? name : `${series.name}: ${name}`,
        colour: `c${(one ? style : place) % 8}`,
        dash: style,
        points: phase === 'eval',
        seeds: lines.length,
      });
    });
  });
  return made.filter((line) => line.x.length);
}
