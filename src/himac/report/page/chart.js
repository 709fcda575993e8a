// One figure: a uPlot canvas with a legend, a reading for the keyboard and the pointer, and its values as a table.

const DASHES = [[], [7, 3], [2, 3], [8, 3, 2, 3], [1, 2]];
const SVG = 'http://www.w3.org/2000/svg';

function swatch(line) {
  const svg = document.createElementNS(SVG, 'svg');
  const stroke = document.createElementNS(SVG, 'line');
  for (const [name, value] of Object.entries({x1: 0, y1: 5, x2: 26, y2: 5, 'stroke-width': 2.5, stroke: colour(line.colour),
    'stroke-dasharray': DASHES[line.dash % DASHES.length].join(' ')})) stroke.setAttribute(name, value);
  svg.append(stroke);
  if (line.points) {
    const point = document.createElementNS(SVG, 'circle');
    for (const [name, value] of Object.entries({cx: 13, cy: 5, r: 4, fill: colour(line.colour)})) point.setAttribute(name, value);
    svg.append(point);
  }
  svg.setAttribute('aria-hidden', 'true');
  return svg;
}

/**
 * A figure that draws itself anew in another theme and when `update` is called.
 * lines(): {x, y, label, colour, dash, points, low, high}; unit: writes a value; axis(): the name of x.
 */
function chart(title, lines, unit, axis, yName) {
  const plot = el('div', {class: 'plot', tabindex: 0, role: 'img'});
  const reading = el('div', {class: 'reading', 'aria-live': 'polite'});
  const legend = el('ul', {class: 'legend'});
  const values = el('details', null, el('summary', null, 'Values'));
  const body = el('div');
  values.append(body);
  const figure = el('figure', {'aria-label': title}, el('figcaption', null, title), legend, plot, reading, values);
  let drawn = null;
  let now = [];

  function read(at) {
    if (at === null || at === undefined || !drawn) return;
    const x = drawn.data[0][at];
    const told = now.map((line) => [line, line.x.indexOf(x)]).filter(([, n]) => n >= 0)
      .map(([line, n]) => `${line.label} ${unit(line.y[n])}${line.low ? ` ± ${unit(line.high[n] - line.y[n])}` : ''}`);
    replace(reading, `${plain(x)} ${axis()}: ${told.join('; ')}`);
  }

  function summary() {
    return `${title} against ${axis()}. ${now.map((line) => `${line.label}: from ${unit(line.y[0])} to ${unit(last(line.y))}, `
      + `lowest ${unit(Math.min(...line.y))}, highest ${unit(Math.max(...line.y))}`).join('. ')}. Left and right arrows read values.`;
  }

  function options() {
    const grid = {stroke: colour('line'), width: 1};
    const axisStyle = {stroke: colour('ink'), grid, ticks: grid, font: '12px system-ui', labelFont: '12px system-ui', labelSize: 18};
    const series = [{}];
    const bands = [];
    for (const line of now) {
      const stroke = colour(line.colour);
      series.push({label: line.label, stroke, width: 2, dash: DASHES[line.dash % DASHES.length], spanGaps: true,
        points: {show: line.points || line.x.length === 1, size: 6, fill: stroke}});
      if (line.low) {
        const edge = {stroke: 'transparent', width: 0, spanGaps: true, points: {show: false}};
        series.push({...edge, label: 'high'}, {...edge, label: 'low'});
        bands.push({series: [series.length - 2, series.length - 1], fill: `${stroke}33`});
      }
    }
    return {
      width: Math.max(200, plot.clientWidth), height: 220, series, bands, legend: {show: false}, padding: [10, 14, 0, 0],
      scales: {x: {time: false}, y: {range: (_, low, high) => yRange(low, high, unit)}},
      cursor: {y: false, points: {size: 7}, drag: {setScale: false}},
      axes: [{...axisStyle, label: axis(), size: 34, values: (_, ticks) => ticks.map((tick) => shortNumber(tick))},
        {...axisStyle, label: yName, size: 56, values: (_, ticks) => ticks.map(unit === percent ? shortPercent : shortNumber)}],
      hooks: {setCursor: [(self) => read(self.cursor.idx)]},
    };
  }

  function update() {
    now = lines().filter((line) => line.x.length);
    figure.hidden = now.length === 0;
    if (drawn) drawn.destroy();
    drawn = null;
    if (!now.length || !plot.clientWidth) return;
    const tables = now.map((line) => (line.low ? [line.x, line.y, line.high, line.low] : [line.x, line.y]));
    drawn = new uPlot(options(), uPlot.join(tables), plot);
    plot.setAttribute('aria-label', summary());
    replace(reading, '');
    replace(legend, now.map((line) => el('li', null, swatch(line), line.label, line.seeds > 1 ? ` (${line.seeds} seeds)` : '')));
    if (values.open) showValues();
  }

  function showValues() {
    const rows = now.flatMap((line) => line.x.map((x, n) => [line.label, plain(x), unit(line.y[n])]));
    replace(body, table(['line', axis(), yName], rows, `${title}: values`));
  }

  values.addEventListener('toggle', () => { if (values.open) showValues(); });
  plot.addEventListener('keydown', (event) => {
    const step = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity}[event.key];
    if (!step || !drawn) return;
    event.preventDefault();
    const end = drawn.data[0].length - 1;
    const from = drawn.cursor.idx ?? (step > 0 ? -1 : end + 1);
    const at = Math.min(end, Math.max(0, from + step));
    drawn.setCursor({left: drawn.valToPos(drawn.data[0][at], 'x'), top: 10});
    drawn.cursor.idx = at;
    read(at);
  });
  let width = 0;
  new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) {
      width = plot.clientWidth;
      if (drawn) drawn.setSize({width, height: 220});
      else update();
    }
  }).observe(plot);
  themed.push(update);
  return {figure, update};
}

/** Room around the values; a level line lies in a range of its own size, a share between 0 and 1. */
function yRange(low, high, unit) {
  if (low === null) return [0, 1];
  const span = high - low || Math.abs(low) || 1;
  const wide = [low - 0.08 * span, high + 0.08 * span];
  return unit === percent ? [low >= 0 ? Math.max(0, wide[0]) : wide[0], high <= 1 ? Math.min(1, wide[1]) : wide[1]] : wide;
}

const shortPercent = (share) => `${Number((100 * share).toFixed(1))} %`;

function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${plain(value / 1e6)}M`;
  return size >= 1e3 ? `${plain(value / 1e3)}k` : plain(value);
}
