// The run's data: a JSON block with everything that is filtered by, and packed chunks of episodes, unpacked when asked for.

const page = JSON.parse(document.getElementById('data').textContent);
const index = page.episodes;
const count = index.source ? index.source.length : 0;
const unpacked = new Map();

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(stream).text());
}

/** Episodes of a chunk: a promise, kept. */
function chunk(number) {
  if (!unpacked.has(number)) unpacked.set(number, unpack(document.getElementById(`chunk-${number}`).textContent));
  return unpacked.get(number);
}

/** What happened in an episode, by its number. */
async function happened(number) {
  return (await chunk(index.chunk[number]))[index.place[number]];
}

const sourceOf = (number) => page.sources[index.source[number]];
const runOf = (number) => page.runs[sourceOf(number).run];
const word = (name, number) => index.words[name][index[name][number]];

/** Numbers of the episodes of a source. */
function episodesOf(source) {
  const found = [];
  for (let n = 0; n < count; n += 1) if (index.source[n] === source) found.push(n);
  return found;
}

/** A picture as a data: address; null where the page does not hold it. */
function picture(key) {
  const block = document.getElementById(`picture-${key}`);
  return block ? `data:image/png;base64,${block.textContent}` : null;
}
