// Numbers and names as people read them.

const REASONS = {
  success: 'the task was solved',
  failure: 'the environment ended the episode, or rejected actions were repeated too often',
  plan_exhausted: 'all sub-goals were done, but not the task',
  subgoal_budget: 'a sub-goal took more steps than it may',
  failure_keyword: 'the environment said that it cannot go on',
  step_limit: 'the steps of the episode were used up',
  malformed_blueprint: 'the planner wrote no valid blueprint',
  context_limit: 'the context did not fit any more',
  env_error: 'the environment broke down',
  engine_error: 'the engine gave no answer',
};

const plain = (value) => (value === null || value === undefined ? '–'
  : value.toLocaleString('en', {maximumSignificantDigits: Math.abs(value) >= 1000 ? 9 : 4}));
const percent = (share) => (share === null || share === undefined ? '–' : `${(100 * share).toFixed(1)} %`);
const whole = (value) => Math.round(value).toLocaleString('en');

function duration(seconds) {
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const last = (list) => list[list.length - 1];

function sourceName(source) {
  const done = source.iteration === null ? '' : `, iteration ${source.iteration}`;
  const run = page.runs.length > 1 ? `${page.runs[source.run].name}: ` : '';
  return `${run}${source.label}${done}`;
}
