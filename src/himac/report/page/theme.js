// Light, dark or as the system has it; print is always light. What is drawn on canvases is told when it changes.

const themed = [];
const dark = matchMedia('(prefers-color-scheme: dark)');
const printed = matchMedia('print');
let chosenTheme = 'auto';

function applyTheme() {
  const wanted = chosenTheme === 'auto' ? (dark.matches ? 'dark' : 'light') : chosenTheme;
  const theme = printed.matches ? 'light' : wanted;
  if (document.documentElement.dataset.theme === theme) return;
  document.documentElement.dataset.theme = theme;
  for (const redraw of themed) redraw();
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function setUpTheme() {
  dark.addEventListener('change', applyTheme);
  printed.addEventListener('change', applyTheme);
  document.getElementById('theme').append(choice('Theme', [['auto', 'system'], ['light', 'light'], ['dark', 'dark']], 'auto',
    (value) => { chosenTheme = value; applyTheme(); }));
  applyTheme();
}
