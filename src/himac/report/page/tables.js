// Tables for the screen, and to copy as Markdown or LaTeX.

const NUMBER = /^[-+–]?[\d.,\s%±]*$/;

/** A table; cells are texts, numbers or elements. */
function table(header, rows, caption) {
  const kinds = header.map((_, column) => (column && rows.every((row) => typeof row[column] === 'number'
    || (typeof row[column] === 'string' && NUMBER.test(row[column]))) ? 'number' : null));
  return el('div', {class: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption || header.join(', ')}, el('table', null,
    caption ? el('caption', null, caption) : null,
    el('thead', null, el('tr', null, header.map((text, n) => el('th', {scope: 'col', class: kinds[n]}, text)))),
    el('tbody', null, rows.map((row) => el('tr', null, row.map((cell, n) => (n
      ? el('td', {class: `foreign ${kinds[n] || ''}`}, cell) : el('th', {scope: 'row', class: 'foreign'}, cell))))))));
}

const asMarkdown = ({header, rows}) => {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|').replace(/\s+/g, ' ')).join(' | ')} |`;
  return [line(header), line(header.map((_, n) => (n ? '---:' : '---'))), ...rows.map(line)].join('\n');
};

const LATEX = {'\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '±': '$\\pm$', '–': '--', '−': '$-$'};
const latexText = (text) => String(text).replace(/\s+/g, ' ').replace(/[\\~^±–−&%$#_{}]/g, (mark) => LATEX[mark] || `\\${mark}`);

const asLatex = ({header, rows}) => {
  const line = (cells) => `${cells.map(latexText).join(' & ')} \\\\`;
  return [`\\begin{tabular}{l${'r'.repeat(header.length - 1)}}`, '\\toprule', line(header), '\\midrule', ...rows.map(line),
    '\\bottomrule', '\\end{tabular}'].join('\n');
};

/** A table with what it is in Markdown and LaTeX: shown, selected, and copied where the browser lets a file do so. */
function copyable(told) {
  const said = el('span', {role: 'status', class: 'note'});
  const text = el('textarea', {readonly: true, rows: 8, cols: 90, hidden: true, 'aria-label': `Source of ${told.title}`});
  const show = (make, name) => el('button', {type: 'button', on: {click: () => {
    text.hidden = false;
    text.value = make(told);
    text.focus();
    text.select();
    const done = document.execCommand('copy');
    replace(said, done ? ` ${name} copied` : ` ${name}: copy the selected text`);
  }}}, name);
  return el('div', {class: 'copyable'}, table(told.header, told.rows, told.title),
    show(asMarkdown, 'Markdown'), ' ', show(asLatex, 'LaTeX'), said, el('div', null, text));
}

function showTables() {
  if (page.tables.length) section('tables', 'Tables', page.tables.map(copyable));
}
