// One episode: what it was, its blueprint, and its sub-goals as a timeline of turns.

const SHORT = 3000;
const MENTION = /\[picture ([0-9a-f]{64})\]/g;

/** Text of an environment or a model, with its pictures where the page holds them; long text is folded. */
function foreignText(text) {
  const whole_ = el('div');
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(MENTION)) {
    const address = picture(found[1]);
    if (!address) continue;
    parts.push(text.slice(end, found.index), el('img', {class: 'shown', src: address, alt: `picture ${found[1].slice(0, 12)} the agent was shown`}));
    end = found.index + found[0].length;
  }
  parts.push(text.slice(end));
  const written = parts.filter((part) => part !== '').map((part) => (typeof part !== 'string' ? part : long(part)));
  fill(whole_, written);
  return whole_;
}

function long(text) {
  const box = el('div', {class: 'text'}, text.slice(0, SHORT));
  if (text.length <= SHORT) return box;
  const more = el('button', {type: 'button', on: {click: () => { replace(box, text); more.remove(); }}}, `Show ${whole(text.length - SHORT)} more characters`);
  return el('div', null, box, more);
}

function turnView([action, observation, reward, done, invalid, reply]) {
  return el('li', null,
    reply && reply !== action ? el('div', {class: 'note'}, long(reply)) : null,
    action === null ? null : el('div', {class: 'action'}, `> ${action}`,
      invalid ? el('span', {class: 'tag wrong'}, 'rejected') : null,
      reward ? el('span', {class: `tag ${reward > 0 ? 'done' : 'wrong'}`}, `reward ${reward > 0 ? '+' : ''}${plain(reward)}`) : null),
    action === null || !observation ? null : foreignText(observation),
    done ? el('span', {class: 'tag done'}, '<sub_done>') : null);
}

function partView([goal, turns], number) {
  const reward = turns.reduce((sum, turn) => sum + (turn[2] || 0), 0);
  const closed = turns.length && last(turns)[3];
  return el('details', {class: 'subgoal', open: true},
    el('summary', {class: 'foreign'}, goal === null ? 'Episode' : `${number + 1}. ${goal} `,
      el('span', {class: 'note'}, ` (${turns.length} turns${reward ? `, reward ${plain(reward)}` : ''}, ${goal === null ? 'flat' : closed ? 'closed' : 'not closed'})`)),
    el('ol', {class: 'steps'}, turns.map(turnView)));
}

const outcome = (n) => el('span', {class: index.success[n] ? 'good' : 'bad'}, index.success[n] ? '✓ solved' : '✗ failed');

function blueprintView(goals, marked = new Set()) {
  return el('ol', {class: 'blueprint'}, goals.map((goal, n) => el('li', null, marked.has(n) ? el('mark', null, el('span', {class: 'hidden'}, 'changed: '), goal) : goal)));
}

/** Numbers of the recorded episodes that are compared with this one. */
function groupOf(n) {
  if (!word('group', n)) return [n];
  return episodesOf(index.source[n]).filter((other) => index.group[other] === index.group[n]);
}

async function episodeView(n) {
  const episode = await happened(n);
  const source = sourceOf(n);
  const group = groupOf(n);
  return el('article', {class: 'episode', 'aria-label': `Episode ${word('task', n)}`},
    el('h3', {class: 'foreign', tabindex: -1}, word('task', n)),
    el('p', null, outcome(n), ` · ${word('kind', n)} · ${word('stop', n)} after ${index.steps[n]} steps · return ${index.return[n].toFixed(2)} · ${sourceName(source)} · split ${source.split || 'unknown'}`),
    REASONS[word('stop', n)] ? el('p', {class: 'note'}, `It ended because ${REASONS[word('stop', n)]}.`) : null,
    index.success[n] ? null : el('p', {class: 'note'}, 'Its return is below the sum of its rewards: a failure also pays a penalty, and the worst that its other steps could have cost.'),
    group.length > 1 ? el('p', null, el('button', {type: 'button', on: {click: (event) => showGroup(group, event.target)}},
      `Compare the ${group.length} episodes of group ${word('group', n)}`)) : null,
    episode.error ? el('div', {class: 'bad'}, long(episode.error)) : null,
    episode.opening ? foreignText(episode.opening) : null,
    episode.blueprint.length || episode.malformed ? [el('h4', null, 'Blueprint'), blueprintView(episode.blueprint),
      episode.malformed ? el('p', {class: 'bad foreign'}, `Malformed: ${episode.malformed}`) : null] : null,
    el('h4', null, 'Timeline'), episode.parts.length ? episode.parts.map(partView) : el('p', {class: 'note'}, 'No turns.'),
    episode.contexts ? tokenView(episode.contexts) : null);
}

async function showGroup(group, button) {
  const view = await comparison(group);
  button.closest('p').after(view);
  button.disabled = true;
  view.querySelector('table').focus();
}
