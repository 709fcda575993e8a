// Elements. Text always becomes a text node: nothing that a run holds is ever read as markup.

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === 'on') for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  fill(element, children);
  return element;
}

/** Append children: elements, texts, numbers, nested lists; nothing for null. */
function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

function replace(element, ...children) {
  element.replaceChildren();
  fill(element, children);
}

/** A section with its heading; the navigation lists it by its id. */
function section(id, title, ...children) {
  const heading = el('h2', {id: `${id}-title`}, title);
  document.getElementById('sections').append(el('li', null, el('a', {href: `#${id}`}, id[0].toUpperCase() + id.slice(1))));
  const made = el('section', {id, 'aria-labelledby': heading.id}, heading, children);
  document.getElementById('main').append(made);
  return made;
}

let fields = 0;

/** A control below or beside its label. */
function field(label, control) {
  control.id = `field-${fields += 1}`;
  return el('span', {class: 'field'}, el('label', {for: control.id}, label), ' ', control);
}

/** A select with a label; options are `[value, text]`. */
function choice(label, options, chosen, act) {
  const select = el('select', {on: {change: () => act(select.value)}},
    options.map(([value, text]) => el('option', {value, selected: String(value) === String(chosen)}, text)));
  return field(label, select);
}

/** Radio buttons; the name is unique in the page. */
function radios(name, legend, options, chosen, act) {
  return el('fieldset', null, el('legend', null, legend), options.map(([value, text]) =>
    el('label', null, el('input', {type: 'radio', name, value, checked: value === chosen, on: {change: () => act(value)}}),
      ' ', text)));
}
