// One thing followed through every step. Whatever is picked, an anchor, a proposal, a detection or a
// ground-truth object, the page knows the others that belong to it. Boxes are grouped by the object
// that they lie on, so that the best few of each can be shown first.

const SAME = 0.5; // overlap from which a box counts as that of an object
const NEAR = 0.3; // overlap from which a box is grouped with an object
const NAMED = 24; // objects with a button

// What the model found with some certainty, then what it did not find.
function objectsOf(content) {
  const c = content.candidates, l = content.learning, least = f(Math.max(0.5, content.model.roi.score));
  const found = c.kept.filter((i) => c.scores.at(i) >= least).map((candidate) => ({ candidate, box: c.boxes.row(candidate), name: candidateName(content, candidate) }));
  const taken = new Set(found.map((o) => matchOf(content, o.candidate)));
  const missed = (l ? l.truth.labels : []).flatMap((_, g) => (l.truth.crowd[g] || taken.has(g) ? [] : [{ truth: g, box: truthBox(content, g), name: `missed ${truthName(content, g)}` }]));
  return [...found, ...missed];
}

const candidateName = (content, i) => `${className(content, content.candidates.labels.at(i))} ${fixed(content.candidates.scores.at(i))}`;

// The ground-truth object that a detection takes, or -1.
function matchOf(content, candidate) {
  const place = content.candidates.kept.indexOf(candidate);
  return content.learning && place >= 0 ? content.learning.mistakes.matches[place] : -1;
}

// The index of the box that overlaps most, if by at least `least`.
function nearest(box, boxes, least) {
  let best, most = least;
  boxes.forEach((b, i) => { const v = overlap(box, b); if (v >= most) [best, most] = [i, v]; });
  return best;
}

const truthBoxes = (content) => (content.learning ? content.learning.truth.labels.map((_, g) => truthBox(content, g)) : []);

// All that belongs to one thing: { anchor, region, candidate, truth }, where there are such. `picked`
// holds one of them.
function threadOf(content, picked) {
  const c = content.candidates, r = content.rpn, thread = { ...picked };
  if (thread.candidate === undefined && picked.truth !== undefined) {
    const place = content.learning.mistakes.matches.indexOf(picked.truth), kept = nearest(truthBox(content, picked.truth), c.kept.map((i) => c.boxes.row(i)), SAME);
    thread.candidate = place >= 0 ? c.kept[place] : kept === undefined ? undefined : c.kept[kept];
    if (thread.candidate === undefined) thread.region = nearest(truthBox(content, picked.truth), [...r.proposals.data].map((p) => r.clipped.row(p)), NEAR);
  }
  if (picked.anchor !== undefined) thread.region = regionOf(content, picked.anchor);
  if (thread.candidate !== undefined) thread.region = c.rows.at(thread.candidate);
  else if (thread.region !== undefined) thread.candidate = bestCandidate(content, thread.region);
  if (thread.anchor === undefined && thread.region !== undefined) thread.anchor = r.proposals.at(thread.region);
  if (thread.truth === undefined && content.learning) {
    const own = matchOf(content, thread.candidate), box = thread.candidate !== undefined ? c.boxes.row(thread.candidate) : r.clipped.row(thread.anchor);
    thread.truth = own >= 0 ? own : nearest(box, truthBoxes(content), SAME);
  }
  return thread;
}

function regionOf(content, anchor) {
  const region = content.rpn.proposals.data.indexOf(anchor);
  return region < 0 ? undefined : region;
}

// The likeliest class of a proposal; one that became a detection comes first.
function bestCandidate(content, region) {
  const c = content.candidates, mine = candidatesOf(content, region);
  return mine.sort((a, b) => c.kept.includes(b) - c.kept.includes(a) || c.scores.at(b) - c.scores.at(a))[0];
}

function threadBox(content, { candidate, region, anchor, truth }) {
  return candidate !== undefined ? content.candidates.boxes.row(candidate) : region !== undefined ? proposalBox(content, region)
    : anchor !== undefined ? content.rpn.clipped.row(anchor) : truthBox(content, truth);
}

// The object that a thread is of: its own, or the one it lies on.
function objectOf(content, objects, thread) {
  const own = objects.findIndex((o) => (o.candidate !== undefined ? o.candidate === thread.candidate : o.truth === thread.truth));
  return own >= 0 ? own : nearest(threadBox(content, thread), objects.map((o) => o.box), NEAR) ?? -1;
}

// The thread as a line: which anchor became which proposal became which detection.
function threadLine(content, { anchor, region, candidate, truth }) {
  const r = content.rpn, dot = (colour, text) => el("span", { style: { "--c": colour } }, text);
  return [anchor !== undefined && dot(COLOUR.anchor, `anchor ${r.anchors.at(anchor)} on ${levelName(content, r.levels.at(anchor))}`),
    region !== undefined && dot(COLOUR.proposal, `proposal ${region}`),
    candidate !== undefined && dot(content.candidates.kept.includes(candidate) ? COLOUR.detection : COLOUR.dropped, candidateName(content, candidate)),
    truth !== undefined && dot(COLOUR.truth, `object ${truth}, ${truthName(content, truth)}`)].filter(Boolean);
}

// How a step's keys and threads belong together: `key` finds a thread's part among the step's things,
// `thread` is what picking one of them follows.
const KINDS = {
  anchor: { key: (view, t) => t.anchor, thread: (view, key) => ({ anchor: key }) },
  region: { key: (view, t) => t.region, thread: (view, key) => ({ region: key }) },
  candidate: { key: (view, t) => t.candidate, thread: (view, key) => ({ candidate: key }) },
  truth: { key: (view, t) => t.truth, thread: (view, key) => ({ truth: key }) },
  closest: { key: () => undefined, thread: ({ content }, key) => ({ truth: bestRow(content.learning.anchors.iou, key) }) },
  sample: { key: ({ content }, t) => sampleOf(content, t), thread: ({ content }, key) => truthPicked(content.learning.anchors.decisions.at(content.learning.anchors.sample.at(key))) },
  chosen: { key: ({ content }, t) => chosenOf(content, t), thread: ({ content }, key) => chosenThread(content, key) },
  term: {
    key: (view, t) => KINDS[ofAnchors(view) ? "sample" : "chosen"].key(view, t),
    thread: (view, key) => KINDS[ofAnchors(view) ? "sample" : "chosen"].thread(view, key),
  },
  verdict: {
    key: ({ content }, t) => (content.candidates.kept.includes(t.candidate) && !(t.truth >= 0 && matchOf(content, t.candidate) !== t.truth && t.asked === "truth") ? t.candidate : t.truth === undefined ? undefined : `miss ${t.truth}`),
    thread: (view, key) => (typeof key === "string" ? { truth: Number(key.slice(5)) } : { candidate: key }),
  },
};

const ofAnchors = (view) => /objectness|rpn/.test(view.state.loss);
const truthPicked = (g) => (g >= 0 ? { truth: g } : null);

// Of the anchors drawn for the loss: the thread's own, else the first of its object.
function sampleOf({ learning: { anchors: a }, rpn }, { anchor, truth }) {
  const drawn = [...a.sample.data], own = anchor === undefined ? -1 : drawn.indexOf(rpn.anchors.at(anchor));
  const of = own >= 0 ? own : truth === undefined ? -1 : drawn.findIndex((n) => a.decisions.at(n) === truth);
  return of < 0 ? undefined : of;
}

// The same for regions; their candidates are the proposals, then the ground-truth boxes.
function chosenOf({ learning: { regions: r } }, { region, truth }) {
  const drawn = [...r.sample.data], own = region === undefined ? -1 : drawn.indexOf(region);
  const of = own >= 0 ? own : truth === undefined ? -1 : r.labels.findIndex((k, i) => k > 0 && r.matches.at(i) === truth);
  return of < 0 ? undefined : of;
}

function chosenThread(content, key) {
  const r = content.learning.regions, candidate = r.sample.at(key);
  return candidate < content.rpn.proposals.length ? { region: candidate } : { truth: candidate - content.rpn.proposals.length };
}

// ---- as part of the address: #step/c12

const LETTERS = { a: "anchor", p: "region", c: "candidate", t: "truth" };

function threadText(thread) {
  const letter = thread && Object.keys(LETTERS).find((k) => LETTERS[k] === thread.asked);
  return letter ? `/${letter}${thread[thread.asked]}` : "";
}

// What an address asks to follow; null if the page has no such thing.
function threadAsked(content, text) {
  const [, letter, digits] = /^([apct])(\d+)$/.exec(text || "") || [], asked = LETTERS[letter], number = Number(digits);
  const counts = { anchor: content.rpn.scores.length, region: content.rpn.proposals.length, candidate: content.candidates.rows.length, truth: content.learning?.truth.labels.length || 0 };
  return asked && number < counts[asked] ? { [asked]: number } : null;
}

// ---- the best few of each object first

// Marks each thing with its object and whether it is among the first `count` of that object. What is
// on no object counts only when nothing is followed and there are no objects, or when all are asked for.
function markFew(hits, objects, count, followed) {
  const ranks = new Map(), boxes = objects.map((o) => o.box);
  for (const h of hits) {
    h.of = h.of ?? nearest(h.box, boxes, NEAR) ?? -1;
    const rank = ranks.get(h.of) || 0;
    ranks.set(h.of, rank + 1);
    h.strong = count === Infinity || (rank < count && (h.of >= 0 ? followed < 0 || h.of === followed : !objects.length));
  }
  return ranks;
}
