// Full-text search: every word must occur in an episode's texts. Chunks are unpacked once and kept in lower case.

const texts = new Map();

function textOf(episode) {
  const parts = [...episode.blueprint, episode.opening, episode.error, episode.plan, episode.malformed];
  for (const [goal, turns] of episode.parts) parts.push(goal, ...turns.flatMap(([action, observation, , , , reply]) => [action, observation, reply]));
  return parts.filter(Boolean).join('\n').toLowerCase();
}

/** Numbers among `numbers` whose texts hold all words; `stopped()` ends it early, with null. */
async function search(numbers, query, stopped) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return numbers;
  const found = [];
  for (const n of numbers) {
    const place = index.chunk[n];
    if (!texts.has(place)) {
      const episodes = await chunk(place);
      if (stopped()) return null;
      texts.set(place, episodes.map(textOf));
    }
    const text = `${word('task', n).toLowerCase()}\n${texts.get(place)[index.place[n]]}`;
    if (words.every((one) => text.includes(one))) found.push(n);
  }
  return found;
}
