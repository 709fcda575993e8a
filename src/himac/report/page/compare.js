// Episodes side by side: step by step, with the first step at which they differ marked.

/** Steps of an episode as texts: sub-goals open with their name. */
function stepsOf(episode) {
  return episode.parts.flatMap(([goal, turns]) => turns.map(([action, observation, reward, done, invalid], n) => ({
    goal: n === 0 ? goal : null, action, observation, reward, done, invalid, same: JSON.stringify([n === 0 ? goal : '', action, done])})));
}

/** Number of the first step that is not the same in all; -1 when all are the same. */
function parting(columns) {
  const longest = Math.max(...columns.map((steps) => steps.length));
  for (let at = 0; at < longest; at += 1) if (new Set(columns.map((steps) => (steps[at] ? steps[at].same : null))).size > 1) return at;
  return -1;
}

function stepCell(step) {
  if (!step) return el('td', null, '');
  return el('td', {class: 'foreign', title: step.observation}, step.goal ? el('div', null, el('strong', null, step.goal)) : null,
    step.action === null ? null : `> ${step.action}`, step.invalid ? el('span', {class: 'tag wrong'}, 'rejected') : null,
    step.reward ? el('span', {class: `tag ${step.reward > 0 ? 'done' : 'wrong'}`}, plain(step.reward)) : null,
    step.done ? el('span', {class: 'tag done'}, '<sub_done>') : null);
}

/** name(n): the head of a column. */
async function comparison(numbers, name = (n) => `member ${index.member[n]}`) {
  const episodes = await Promise.all(numbers.map(happened));
  const columns = episodes.map(stepsOf);
  const parts = parting(columns);
  const longest = Math.max(...columns.map((steps) => steps.length));
  const rows = Array.from({length: longest}, (_, at) => el('tr', {class: at === parts ? 'parts' : null},
    el('th', {scope: 'row'}, at + 1, at === parts ? el('div', null, 'they part here') : null), columns.map((steps) => stepCell(steps[at]))));
  return el('div', {class: 'scroll'}, el('table', {class: 'compare', tabindex: -1},
    el('caption', null, parts < 0 ? 'The same steps in all of them' : `The first difference is at step ${parts + 1}`),
    el('thead', null, el('tr', null, el('th', {scope: 'col'}, 'step'), numbers.map((n) => el('th', {scope: 'col', class: 'foreign'},
      name(n), ' ', outcome(n), el('div', {class: 'note'}, `return ${index.return[n].toFixed(2)}, ${word('stop', n)}`))))),
    el('tbody', null, rows)));
}
