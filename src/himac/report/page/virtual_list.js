// A list of thousands of rows of which only the visible ones exist. It is a listbox: arrows move, Enter opens.

const ROW_HEIGHT = 28;
const BEYOND = 8;

/** cells(item): texts of a row; open(item): called on a click or Enter. */
function virtualList(label, cells, open) {
  const space = el('div', {class: 'space'});
  const box = el('div', {class: 'list', role: 'listbox', tabindex: 0, 'aria-label': label}, space);
  let items = [];
  let active = 0;
  let asked = false;

  function draw() {
    asked = false;
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - BEYOND);
    const end = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + BEYOND);
    const rows = [];
    for (let at = first; at < end; at += 1) {
      const row = el('div', {class: 'row', role: 'option', id: `row-${at}`, 'aria-selected': at === active ? 'true' : 'false',
        'aria-setsize': items.length, 'aria-posinset': at + 1, on: {click: () => { select(at); open(items[at]); }}},
      cells(items[at]).map((text) => el('span', {title: text}, text)));
      row.style.top = `${at * ROW_HEIGHT}px`;
      rows.push(row);
    }
    space.replaceChildren(...rows);
    if (items.length) box.setAttribute('aria-activedescendant', `row-${active}`);
    else box.removeAttribute('aria-activedescendant');
  }

  function soon() {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  }

  function select(at) {
    active = Math.max(0, Math.min(items.length - 1, at));
    const top = active * ROW_HEIGHT;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_HEIGHT - box.clientHeight;
    draw();
  }

  box.addEventListener('scroll', soon, {passive: true});
  new ResizeObserver(soon).observe(box);
  box.addEventListener('keydown', (event) => {
    const leap = Math.max(1, Math.floor(box.clientHeight / ROW_HEIGHT) - 1);
    const to = {ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + leap, PageUp: active - leap, Home: 0, End: items.length - 1}[event.key];
    if (to !== undefined) select(to);
    else if ((event.key === 'Enter' || event.key === ' ') && items.length) open(items[active]);
    else return;
    event.preventDefault();
  });
  return {
    element: box,
    show(next) {
      items = next;
      active = 0;
      space.style.height = `${items.length * ROW_HEIGHT}px`;
      box.scrollTop = 0;
      draw();
    },
    choose(item) {
      const at = items.indexOf(item);
      if (at >= 0) select(at);
    },
  };
}
