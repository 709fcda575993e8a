// The list of episodes with its filters, and the one that is open.

let showFailures = () => {};

function showEpisodes() {
  if (!count) return;
  const wanted = {...NOTHING, ...remembered('filters', {})};
  const order = remembered('order', {key: 'iteration', down: true});
  const said = el('p', {role: 'status', class: 'note'});
  const detail = el('div', {id: 'episode'});
  const heads = el('div', {class: 'list-head'});
  const list = virtualList('Episodes', (n) => COLUMNS.map(([, , text]) => text(n)), open);
  const controls = el('div');
  let opened = 0;
  let listed = 0;

  async function open(n) {
    const own = opened += 1;
    const view = await episodeView(n);
    if (own !== opened) return;
    replace(detail, el('button', {type: 'button', on: {click: close}}, 'Close this episode'), view);
    view.querySelector('h3').focus({preventScroll: true});
    detail.scrollIntoView({block: 'nearest'});
    list.choose(n);
  }

  function close() {
    opened += 1;
    replace(detail);
    list.element.focus();
  }

  async function update() {
    const own = listed += 1;
    remember('filters', wanted);
    remember('order', order);
    const passing = [];
    for (let n = 0; n < count; n += 1) if (passes(n, wanted)) passing.push(n);
    if (wanted.query) replace(said, 'Searching …');
    const found = await search(passing, wanted.query, () => own !== listed);
    if (own !== listed || !found) return;
    list.show(sorted(found, order));
    replace(said, `${whole(found.length)} of ${whole(count)} episodes, ${percent(found.length ? solved(found) / found.length : null)} solved`
      + (page.left_out ? `; ${whole(page.left_out)} more are in the files of the runs` : ''));
  }

  function sortBy(key, place) {
    order.down = key === order.key ? !order.down : false;
    order.key = key;
    drawHeads();
    heads.children[place].focus();
    update();
  }

  function drawHeads() {
    replace(heads, COLUMNS.map(([key, title], place) => el('button', {type: 'button', 'aria-pressed': key === order.key ? 'true' : 'false',
      'aria-label': `Sort by ${title}`, on: {click: () => sortBy(key, place)}},
    title, key === order.key ? (order.down ? ' ▼' : ' ▲') : '')));
  }

  function reset(values) {
    Object.assign(wanted, NOTHING, values);
    replace(controls, filterControls(wanted, update));
    return update();
  }

  showFailures = async (source, kind) => {
    const {run, label, iteration} = page.sources[source];
    await reset({run: String(run), label, kind, outcome: '0', from: String(iteration ?? ''), to: String(iteration ?? '')});
    document.getElementById('episodes').scrollIntoView();
    list.element.focus({preventScroll: true});
  };
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && detail.firstChild && detail.contains(document.activeElement)) close(); });
  drawHeads();
  section('episodes', 'Episodes', controls, el('div', {class: 'controls'}, el('button', {type: 'button', on: {click: () => reset({})}}, 'Reset filters'), said),
    el('p', {class: 'note'}, 'Arrows move in the list, Enter opens an episode, Escape closes it.'), el('div', {class: 'browser'}, el('div', null, heads, list.element), detail));
  reset(wanted);
}
