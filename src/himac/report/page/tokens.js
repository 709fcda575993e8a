// Tokens of a context: sampled ones with their probability and advantage, given ones as the text they are.

const level = (size) => Math.min(4, Math.ceil(size * 4));

/** CSS class: the less likely, or the more (dis)advantageous, the stronger. */
function tokenClass(logprob, advantage, scale, by) {
  const state = advantage === null ? 'token untrained' : 'token';
  if (by === 'probability') {
    const missing = level(1 - Math.exp(logprob));
    return missing > 0 && Math.exp(logprob) < 0.99 ? `${state} less${missing}` : state;
  }
  if (!advantage || !scale) return state;
  return `${state} ${advantage > 0 ? 'more' : 'less'}${level(Math.abs(advantage) / scale)}`;
}

function tokenSpan([text, logprob, advantage], scale, by) {
  const credit = advantage === null ? 'sampled, not trained in this phase' : `advantage ${plain(advantage)}`;
  const told = `probability ${plain(Math.exp(logprob))} (log ${plain(logprob)}), ${credit}`;
  return el('span', {class: tokenClass(logprob, advantage, scale, by), title: told}, text.replaceAll('\n', '⏎\n'));
}

/** The contexts of an episode, each folded; the spans are made when one is opened. */
function tokenView(contexts) {
  const credits = contexts.flatMap(({pieces}) => pieces.map((piece) => (piece.length === 3 ? Math.abs(piece[2] || 0) : 0)));
  const scale = credits.reduce((a, b) => Math.max(a, b), 0);
  let by = scale ? 'advantage' : 'probability';
  const drawn = [];
  const views = contexts.map(({role, subgoal, tokens, pieces}, number) => {
    const body = el('div', {class: 'tokens', tabindex: 0, role: 'group', 'aria-label': `tokens of ${role} ${number}`});
    const sampled = pieces.filter((piece) => piece.length === 3);
    const trained = sampled.filter((piece) => piece[2] !== null).length;
    const draw = () => replace(body, pieces.map((piece) => (piece.length === 3 ? tokenSpan(piece, scale, by)
      : el('span', {class: 'given', title: `${piece[1]} tokens, given: masked, never trained`}, piece[0]))));
    const view = el('details', null, el('summary', {class: 'foreign'}, `${role}${subgoal ? `: ${subgoal}` : ''} `,
      el('span', {class: 'note'}, `(${tokens} tokens, ${sampled.length} sampled, ${trained} trained)`)), body);
    view.addEventListener('toggle', () => { if (view.open) draw(); });
    drawn.push(() => { if (view.open) draw(); });
    return view;
  });
  const recolour = (value) => { by = value; drawn.forEach((draw) => draw()); };
  const key = (kind, text) => el('span', {class: kind}, text);
  return el('div', null, el('h4', null, 'Tokens'),
    el('div', {class: 'controls'}, radios('colour', 'Colour by', [['probability', 'probability'], ['advantage', 'advantage']], by, recolour),
      el('span', {class: 'note'}, key('token less4', 'unlikely / negative'), ' ', key('token more4', 'positive'), ' ', key('token', 'certain / zero'), ' ',
        key('token untrained', 'sampled, not trained'), ' ', key('given', 'given: masked'))),
    views);
}
