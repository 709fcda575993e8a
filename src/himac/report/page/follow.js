// A page that `himac view` serves asks now and then whether the run has gone on; what was chosen outlives a reload.

const ASK_EVERY_MS = 5000;

function remember(name, value) {
  try { if (page.version) sessionStorage.setItem(`himac-${name}`, JSON.stringify(value)); } catch { /* a file has no storage in some browsers */ }
  return value;
}

function remembered(name, otherwise) {
  try { return (page.version && JSON.parse(sessionStorage.getItem(`himac-${name}`))) || otherwise; } catch { return otherwise; }
}

function follow() {
  if (!page.version) return;
  const status = document.getElementById('status');
  const ask = async () => {
    try {
      const state = await (await fetch('state', {cache: 'no-store'})).json();
      if (state.version !== page.version) {
        const reading = document.getElementById('episode');
        if (reading && reading.firstChild) {
          replace(status, el('button', {type: 'button', on: {click: () => location.reload()}}, 'The run has gone on: show it'));
        } else location.reload();
        return;
      }
      replace(status, 'following');
    } catch { replace(status, 'himac view has ended; this is the last state it told'); }
  };
  replace(status, 'following');
  setInterval(ask, ASK_EVERY_MS);
}
