// The steps that need ground truth: what the model would learn from this image, and where it is
// wrong; and the weights.

const truthBox = (content, g) => content.learning.truth.boxes.row(g);
const truthName = (content, g) => className(content, content.learning.truth.labels[g]);
const CHOICES = 24; // ground-truth objects that the page offers (learning.py)
const COLUMNS = 4; // of a table beside the image
const TAGS = 12; // of mistakes on the image; the others show theirs on hover

const LEARNING = [
  {
    id: "truth", group: "Learning", title: "Ground truth", kind: "truth",
    text: (c) => `What a person marked: ${some(c.learning.truth.boxes.length, "object")}. Each has a class, a mask and the box around it. Everything that follows is compared with these.`,
    build: (view) => {
      const { content } = view, t = content.learning.truth;
      const hits = t.labels.map((_, g) => ({ key: g, box: t.boxes.row(g), text: `${g} · ${truthName(content, g)}`, details: () => [heading(`Object ${g}: ${truthName(content, g)}`, COLOUR.truth),
        facts([["box", boxText(t.boxes.row(g))], ["pixels", t.areas[g].toLocaleString("en")], ["crowd", t.crowd[g] ? "yes: never matched, never counted" : "no"]]), thumb(truthMask(content, g), "its mask, resized"),
        thumb(mapCanvas(unit(t.small.row(g)), t.small.shape[2], t.small.shape[1], grey), `on the mask branch's ${t.small.shape[2]} × ${t.small.shape[1]} grid; IoU when pasted back ${fixed(t.roundTrip[g], 3)}: what a network reaches that predicts its target exactly`)] }));
      return {
        hits, legend: [["ground truth", COLOUR.truth]],
        paint: (stage) => hits.forEach((h) => {
          if (view.focused !== null && view.focused !== h.key) return stage.box(h.box, COLOUR.truth, "solid", 1, 0.4);
          overlayMask(stage, content, h.key, hex(COLOUR.truth), 110);
          stage.box(h.box, COLOUR.truth, "solid", 2);
          if (view.focused === null) stage.tag(h.box, truthName(content, h.key), COLOUR.truth);
        }),
        panel: () => { const counts = new Map(); t.labels.forEach((k) => counts.set(k, (counts.get(k) || 0) + 1));
          return [heading("Objects by class", COLOUR.truth), bars([...counts].map(([k, n]) => [className(content, k), n, String(n), COLOUR.truth]), Math.max(...counts.values(), 1)),
            heading("Masks"), el("div", { class: "thumbs" }, t.labels.slice(0, MASKS).map((_, g) => thumb(truthMask(content, g), `${g} · ${truthName(content, g)}`))),
            t.labels.length > MASKS ? el("p", { class: "fine" }, `The first ${MASKS} of ${t.labels.length}.`) : null]; },
      };
    },
  },
  {
    id: "matching", group: "Learning", title: "Matching anchors", kind: "closest",
    arrive: (view, { truth }) => { if (truth < CHOICES) Object.assign(view.state, { match: "objects", truth }); },
    text: (c) => `An anchor is <b>positive</b> if it overlaps an object by IoU ${c.model.rpn.foreground} or more, or more than any other anchor does. Below ${c.model.rpn.background} it is background, and in between it is ignored. Look at one object's closest anchors, or at the decisions on a whole level.`,
    build: (view) => {
      const { content, state } = view, l = content.learning, a = l.anchors, n = l.truth.labels.length, kind = state.match || "objects";
      const closest = n ? [...a.closest.data.keys()].filter((k) => bestRow(a.iou, k) === Math.min(state.truth, n - 1)).sort((x, y) => a.iou.row(Math.min(state.truth, n - 1))[y] - a.iou.row(Math.min(state.truth, n - 1))[x]) : [];
      const hits = kind === "objects" ? closest.map((k) => ({ key: k, box: a.closestBoxes.row(k), text: `IoU ${fixed(a.iou.row(Math.min(state.truth, n - 1))[k])}`, details: () => anchorMatch(view, a.closest.at(k), k) }))
        : kind === "between" ? someBetween(content).map(({ anchor, box }) => ({ key: anchor, box, text: fixed(a.best.at(anchor)), details: () => [heading(`Anchor ${anchor}`, COLOUR.anchor),
          el("p", { class: "why", "data-field": "why" }, `Ignored: its best IoU, ${fixed(a.best.at(anchor), 3)}, lies between ${content.model.rpn.background} and ${content.model.rpn.foreground}.`), facts([["box", boxText(box, 0)]])] })) : [];
      const start = closest.length ? a.closestBoxes.row(closest[0]) : null, button = start && whatIfButton(view, start), tried = whatIf(view, true);
      if (tried) return { ...tried, controls: button };
      const maps = kind !== "map" ? [] : content.anchors.map((level, i) => decisionMap(content, i));
      return {
        hits, noChips: !hits.length, margin: 0.1,
        controls: [choice("show", [["objects", "one object's anchors"], ["between", "some ignored anchors"], ["map", "all decisions"]], kind, (v) => view.set("match", v)),
          kind === "objects" ? n > 0 && choice("object", l.truth.labels.slice(0, CHOICES).map((_, g) => [g, `${g} ${truthName(content, g)}`]), Math.min(state.truth, n - 1), (v) => view.set("truth", v))
            : kind === "map" && choice("level", content.anchors.map((_, i) => [i, levelName(content, i)]), Math.max(0, Math.min(state.level, maps.length - 1)), (v) => view.set("level", v)), button],
        legend: [["ground truth", COLOUR.truth], ["positive anchor", COLOUR.anchor], ["background or ignored", COLOUR.dropped, "dotted"]],
        count: `${a.counts[0].toLocaleString("en")} anchors are positive, ${a.counts[1].toLocaleString("en")} are background, ${a.counts[2].toLocaleString("en")} are ignored`,
        paint: (stage) => {
          stage.fade(0.35);
          if (kind === "map") { const i = Math.max(0, Math.min(state.level, maps.length - 1)); stage.overlay(maps[i], cellsArea(content.anchors[i]), 0.85); }
          for (let g = 0; g < n; g++) stage.box(truthBox(content, g), COLOUR.truth, "solid", kind === "objects" && g === state.truth ? 2.6 : 1.2);
          const stands = (h) => kind === "objects" && a.decisions.at(a.closest.at(h.key)) >= 0;
          for (const h of hits) stage.box(h.box, stands(h) ? COLOUR.anchor : COLOUR.dropped, stands(h) ? "solid" : "dotted", view.focused === h.key ? 3 : 1.3, view.focused === null || view.focused === h.key ? 1 : 0.3);
        },
        panel: () => [heading("IoU of objects and their best anchors"), n ? iouTable(a.iou, closest.slice(0, COLUMNS), l.truth.labels.map((_, g) => `${g} ${truthName(content, g)}`), closest.slice(0, COLUMNS).map((k) => String(a.closest.at(k)))) : el("p", { class: "quiet" }, "No objects: every anchor is background."),
          el("p", { class: "fine" }, `Rows: objects. Columns: the numbers of the chosen object's best anchors, ${Math.min(COLUMNS, closest.length)} of ${closest.length}.`),
          kind === "map" ? legend([["positive", COLOUR.anchor], ["ignored", COLOUR.point]]) : null],
      };
    },
  },
  {
    id: "sampling", group: "Learning", title: "Chosen anchors", kind: "sample", few: "anchor",
    arrive: (view) => { view.state.drawn = "objects"; },
    text: (c) => `Background anchors would drown the few positive ones, so the loss uses only <b>${c.learning.anchors.sample.length} anchors</b>, drawn at random; at most half of them are positive. Dotted: the anchor. Solid: the box it should become.`,
    build: (view) => {
      const { content, state } = view, a = content.learning.anchors, kind = state.drawn || "objects";
      let next = 0;
      const goal = [...a.sampleObject.data].map((o) => (o ? next++ : -1));
      const rows = goal.map((_, k) => k).filter((k) => (kind === "objects") === (goal[k] >= 0)).sort((x, y) => a.objectnessTerms.at(y) - a.objectnessTerms.at(x));
      return {
        margin: 0.12,
        controls: choice("show", [["objects", `${next} positive`], ["background", `${goal.length - next} background`]], kind, (v) => view.set("drawn", v)),
        legend: kind === "objects" ? [["anchor", COLOUR.anchor, "dotted"], ["its target", COLOUR.truth]] : [["background anchor", COLOUR.dropped, "dotted"]],
        hits: rows.map((k) => ({ key: k, box: a.sampleBoxes.row(k), text: `objectness ${fixed(a.sampleScores.at(k))}`, short: fixed(a.sampleScores.at(k)), details: () => [heading(`Anchor ${a.sample.at(k)}`, COLOUR.anchor),
          facts([["should be", goal[k] >= 0 ? "an object" : "background"], ["objectness", fixed(a.sampleScores.at(k), 4)], ["adds to the objectness loss", tiny(a.objectnessTerms.at(k))], goal[k] >= 0 && ["adds to the box loss", tiny(a.boxTerms.at(k))], ["box", boxText(a.sampleBoxes.row(k), 0)], goal[k] >= 0 && ["target", boxText(a.sampleGoals.row(goal[k]))], ["best IoU", fixed(a.best.at(a.sample.at(k)), 3)]])] })),
        paint: (stage) => {
          stage.fade(0.35);
          for (const h of byStrength(view)) {
            const k = h.key, dim = view.strength(h);
            stage.box(a.sampleBoxes.row(k), goal[k] >= 0 ? COLOUR.anchor : COLOUR.dropped, "dotted", 1.7, dim);
            if (goal[k] >= 0) stage.box(a.sampleGoals.row(goal[k]), COLOUR.truth, "solid", 1.5, dim);
          }
        },
        panel: () => [heading("The draw"), facts([["positive anchors", a.counts[0].toLocaleString("en")], ["drawn", String(next)], ["background anchors", a.counts[1].toLocaleString("en")], ["drawn", String(goal.length - next)]]),
          el("p", { class: "quiet" }, "Sorted by what each adds to the loss. The numbers on the buttons are the anchors' present objectness.")],
      };
    },
  },
  {
    id: "regions", group: "Learning", title: "Chosen regions", kind: "chosen", few: "region",
    arrive: (view) => { view.state.drawn = "objects"; },
    text: (c) => `Proposals, and the ground-truth boxes themselves, are matched in the same way (IoU ${c.model.roi.foreground}). The heads learn from <b>${c.learning.regions.labels.length} of them</b>: a class from each, and from objects also a box and a mask, cut out of the object's own mask.`,
    build: (view) => {
      const { content, state } = view, r = content.learning.regions, kind = state.drawn || "objects";
      const objects = r.labels.map((k, i) => [k, i]).filter(([k]) => k).map(([, i]) => i), rows = r.labels.map((_, i) => i).filter((i) => (kind === "objects") === (r.labels[i] > 0));
      const share = objects.length / Math.max(1, r.labels.length);
      return {
        controls: choice("show", [["objects", `${objects.length} objects`], ["background", `${r.labels.length - objects.length} background`]], kind, (v) => view.set("drawn", v)),
        legend: kind === "objects" ? [["region", COLOUR.proposal, "dashed"], ["its target", COLOUR.truth]] : [["background region", COLOUR.dropped, "dotted"]],
        hits: rows.map((i) => ({ key: i, box: r.boxes.row(i), text: `region ${i}: ${className(content, r.labels[i])}`, short: `${i} · ${className(content, r.labels[i])}`, details: () => sampledRegion(view, i, objects.indexOf(i)) })),
        paint: (stage) => {
          stage.fade(0.35);
          for (const h of byStrength(view)) {
            const i = h.key, dim = view.strength(h), k = objects.indexOf(i);
            if (k >= 0 && (view.focused === i || rows.length < 9)) stage.overlay(mapCanvas(unit(r.maskGoals.row(k)), r.maskGoals.shape[2], r.maskGoals.shape[1], () => hex(COLOUR.mask), (v) => 150 * v), r.boxes.row(i), dim);
            stage.box(r.boxes.row(i), k >= 0 ? COLOUR.proposal : COLOUR.dropped, k >= 0 ? "dashed" : "dotted", 1.2, dim);
            if (k >= 0) stage.box(r.goals.row(i), COLOUR.truth, "solid", 1.6, dim);
          }
        },
        panel: () => { const counts = new Map(); r.labels.forEach((k) => counts.set(k, (counts.get(k) || 0) + 1));
          return [heading("The draw"), facts([["candidates", String(r.candidates.length)], ["drawn", String(r.labels.length)], ["different boxes", String(r.unique)], ["share of objects", percent(share)]]),
            bars([...counts].sort((x, y) => x[0] - y[0]).map(([k, n]) => [className(content, k), n, String(n), k ? COLOUR.truth : COLOUR.dropped]), r.labels.length),
            heading("Mask targets", COLOUR.mask), el("div", { class: "thumbs" }, objects.slice(0, 32).map((i, k) => thumb(mapCanvas(unit(r.maskGoals.row(k)), r.maskGoals.shape[2], r.maskGoals.shape[1], grey), `region ${i}`)))]; },
      };
    },
  },
  {
    id: "losses", group: "Learning", title: "Losses, term by term", kind: "term", few: "term",
    text: () => "Five numbers say how wrong the model is here. Each is a sum over anchors, regions or mask pixels. Choose a loss: the stronger the colour, <b>the more the box adds to it</b>.",
    build: (view) => {
      const { content, state } = view, l = content.learning, { boxes, terms, names } = lossTerms(content, state.loss), most = Math.max(...terms, 1e-12);
      const rows = terms.map((_, i) => i).filter((i) => terms[i] > 0).sort((x, y) => terms[y] - terms[x]), colour = content.lossColours[state.loss];
      const total = Object.values(l.losses).reduce((x, y) => x + y, 0);
      return {
        margin: 0.08,
        hits: rows.slice(0, 200).map((i) => ({ key: i, box: boxes(i), text: `${names(i)} adds ${percent(terms[i] / (l.losses[state.loss] || 1))}`, short: percent(terms[i] / (l.losses[state.loss] || 1)), details: () => lossDetails(view, i, names(i), terms[i]) })),
        count: `${LOSS_NAMES[state.loss]}: ${fixed(l.losses[state.loss], 4)}, the sum of ${rows.length} non-zero terms`,
        paint: (stage) => {
          stage.fade(0.4);
          for (const h of byStrength(view)) stage.box(h.box, colour, "solid", view.focused === h.key ? 3.4 : 1 + 2 * terms[h.key] / most, view.strength(h) * (0.25 + 0.75 * terms[h.key] / most));
          for (let g = 0; g < l.truth.labels.length; g++) stage.box(truthBox(content, g), COLOUR.truth, "dotted", 1.2);
        },
        panel: () => [heading("The five losses"), lossBars(l.losses, content.lossColours, Math.max(...Object.values(l.losses), 1e-12), 4, (key) => { state.loss = key; view.arrive(); view.rebuild(); }, state.loss),
          facts([["sum", fixed(total, 4)]]), heading("Its terms, largest first", colour), termBars(rows.map((i) => terms[i]), colour),
          el("p", { class: "fine" }, `The buttons under the image give each term as a share of this loss.`)],
      };
    },
  },
  {
    id: "gradients", group: "Learning", title: "Gradients", needs: (c) => c.learning?.gradients,
    text: () => "The losses run backwards through the network. Bright places are those where <b>a small change of the map would change the loss most</b>: what this image would teach the network.",
    build: (view) => {
      const { content, state } = view, g = content.learning.gradients, kind = state.slopes || "pyramid", maps = g.maps[kind];
      const i = Math.max(0, Math.min(state.level, maps.length - 1)), map = maps[i], most = Math.max(...g.parameters.map((p) => p.norm), 1e-30);
      return {
        noChips: true,
        controls: [choice("map", [["body", "backbone"], ["pyramid", "pyramid"]], kind, (v) => view.set("slopes", v)), choice("level", maps.map((_, k) => [k, kind === "body" ? `C${k + 2}` : levelName(content, k)]), i, (v) => view.set("level", v))],
        count: map ? `|gradient| up to ${tiny(map.high[0])}` : "no gradient arrived here",
        paint: (stage) => { if (map) stage.overlay(plane(map, 0), [0, 0, ...content.input.padded], 0.86); for (let k = 0; k < content.learning.truth.labels.length; k++) stage.box(truthBox(content, k), COLOUR.truth, "solid", 1.4); },
        panel: () => [heading("All levels"), el("div", { class: "thumbs" }, maps.map((m, k) => m && thumb(plane(m, 0), `${k}: to ${tiny(m.high[0])}`))),
          heading("Gradient of each parameter (norm)"), el("div", { class: "scroll names" }, bars(g.parameters.map((p) => [p.name, p.norm, tiny(p.norm), COLOUR.mask]), most))],
      };
    },
  },
  {
    id: "mistakes", group: "Learning", title: "Right and wrong", kind: "verdict",
    text: () => "Detections take objects in order of their scores: each takes the free object of its class that its box overlaps most, by IoU 0.5 or more. The rest are <b>false positives, of five kinds</b>. For each object that was not taken, the page names the stage at which it was lost.",
    build: (view) => {
      const { content, state } = view, l = content.learning, m = l.mistakes, c = content.candidates, least = state.mistakeScore ?? m.score;
      const { found, wrong, ignored, missed } = errorsFrom(content, least);
      const name = (k) => `${className(content, c.labels.at(c.kept[k]))} ${fixed(c.scores.at(c.kept[k]))}`;
      const judged = (k, colour, style, more) => ({ key: c.kept[k], colour, style, box: c.boxes.row(c.kept[k]), ...more, details: () => detectionDetails(view, c.kept[k], { outcome: "kept" }) });
      const hits = [...missed.map(({ truth: g, reason, why }) => ({ key: `miss ${g}`, colour: COLOUR.missed, style: "dashed", box: truthBox(content, g), tag: `missed ${truthName(content, g)}: ${reason}`, text: `missed ${truthName(content, g)}: ${reason}`,
        details: () => [heading(`Missed: ${truthName(content, g)}`, COLOUR.missed), el("p", { class: "why", style: { "--c": COLOUR.missed }, "data-field": "why" }, why), facts([["reason", reason, "reason"], ["object", String(g)], ["box", boxText(truthBox(content, g))], ["pixels", l.truth.areas[g].toLocaleString("en")]])] })),
      ...wrong.map((k) => judged(k, m.colours[m.kinds[k]], "solid", { tag: `${name(k)}: ${m.kinds[k]}`, text: `${m.kinds[k]} ${fixed(c.scores.at(c.kept[k]))}` })),
      ...found.map((k) => judged(k, COLOUR.truth, "solid", { text: `right ${fixed(c.scores.at(c.kept[k]))}` })),
      ...ignored.map((k) => judged(k, COLOUR.dropped, "dotted", { text: `in a crowd ${fixed(c.scores.at(c.kept[k]))}` }))];
      const kinds = Object.keys(m.colours), count = (list, of) => list.filter(of).length;
      return {
        hits, legend: [["right", COLOUR.truth], ["missed", COLOUR.missed, "dashed"], ...kinds.map((kind) => [kind, m.colours[kind]])],
        controls: slider("score threshold", "mistake-score", least, [content.model.roi.score, 1, 0.01], (v) => view.set("mistakeScore", v, false)),
        count: [el("output", { id: "mistake-count" }, `${found.length} right, ${wrong.length} wrong, ${missed.length} missed`), ` of ${some(m.objects, "object")}`],
        paint: (stage) => {
          stage.fade(0.15);
          for (const h of [...hits].reverse()) {
            const dim = view.focused !== null && view.focused !== h.key;
            stage.box(h.box, h.colour, h.style, h.tag ? 2 : 1.2, dim ? 0.2 : 1);
          }
          const named = view.hit ? [view.hit] : hits.filter((h) => h.tag).slice(0, TAGS); // the highest scores
          for (const h of named.reverse()) if (h.tag) stage.tag(h.box, h.tag, h.colour);
        },
        panel: () => [heading("False positives by kind"), bars(kinds.map((kind) => { const n = count(wrong, (k) => m.kinds[k] === kind); return [kind, n, String(n), m.colours[kind]]; }), Math.max(1, wrong.length)),
          missed.length > 0 && [heading("Why objects were missed", COLOUR.missed), bars([...new Set(missed.map((x) => x.reason))].map((reason) => { const n = count(missed, (x) => x.reason === reason); return [reason, n, String(n), COLOUR.missed]; }), missed.length)],
          heading("Objects × detections: IoU"), m.iou.length && l.truth.labels.length ? truthTable(content) : el("p", { class: "quiet" }, "There are no objects, or no detections."),
          el("p", { class: "fine" }, "Bold: the classes agree. Detections are sorted by score, best on the left."),
          heading("Precision over recall (IoU 0.5, all scores)", COLOUR.detection), m.recall.length ? curve(m.recall, m.precision, COLOUR.detection, "recall", "precision") : null, facts([["AP at 0.5 of this image", fixed(m.ap50, 3), "ap50"]])],
      };
    },
  },
];

const WEIGHTS = [
  {
    id: "weights", group: "The model", title: "Weights",
    text: () => "Every array of the model: its range and spread, and whether anything about it is <b>odd</b>: not finite, all zero, all equal, very large.",
    build: (view) => {
      const { content, state } = view, rows = content.weights, mine = rows[Math.min(state.array || 0, rows.length - 1)], odd = rows.filter((r) => r.odd);
      return {
        noChips: true,
        count: odd.length ? `${odd.length} of ${rows.length} arrays look odd: ${odd.slice(0, 4).map((r) => `${r.name} (${r.odd})`).join(", ")}${odd.length > 4 ? ", …" : ""}. That is a hint where to look, not an error: “large” means beyond 100, and a running variance may well be.` : `None of the ${rows.length} arrays looks odd.`,
        wide: [grid(["array", "shape", "smallest", "largest", "mean", "deviation", ""], rows.map((r) => [r.name, r.shape.join(" × "), ...[r.least, r.largest, r.mean, r.std].map((v) => tiny(v ?? 0)), r.odd]))],
        panel: () => [heading(mine.name), histogram([mine.histogram.data], [mine.least ?? 0, mine.largest ?? 0], [COLOUR.mask], 96), facts([["shape", mine.shape.join(" × ") || "one number"], ["smallest", tiny(mine.least ?? 0)], ["largest", tiny(mine.largest ?? 0)], ["mean", tiny(mine.mean ?? 0)], ["deviation", tiny(mine.std ?? 0)], ["odd", mine.odd || "no"]]),
          heading("All arrays: deviation"), el("div", { class: "scroll names" }, bars(rows.map((r, i) => [r.name, r.std ?? 0, tiny(r.std ?? 0), r.odd ? COLOUR.detection : COLOUR.mask, i]), Math.max(...rows.map((r) => r.std ?? 0), 1e-30), (i) => view.set("array", i), state.array || 0))],
      };
    },
  },
];

// ---- right and wrong, among the detections above a score

// Detections with lower scores affect neither what a detection takes nor the kind of a wrong one.
// Those below the threshold are left out, and the objects that only they found are missed.
function errorsFrom(content, least) {
  const { mistakes: m, truth } = content.learning, c = content.candidates;
  const made = c.kept.map((i) => c.scores.at(i) >= f(least)), shown = [...made.keys()].filter((k) => made[k]);
  const taken = new Map(m.matches.map((g, k) => [g, k]));
  const missed = truth.labels.map((_, g) => g).filter((g) => !truth.crowd[g] && !(taken.has(g) && made[taken.get(g)]))
    .map((g) => ({ truth: g, reason: missReason(content, g, made), why: taken.has(g) ? `A detection of it has the score ${fixed(c.scores.at(c.kept[taken.get(g)]), 3)}, below the threshold.` : missText(content, m.lost[g]) }));
  return { missed, found: shown.filter((k) => m.matches[k] >= 0), ignored: shown.filter((k) => m.kinds[k] === "crowd"),
    wrong: shown.filter((k) => m.matches[k] < 0 && m.kinds[k] !== "crowd") };
}

// The first reason that applies, as in evaluation/detection_errors.py.
function missReason(content, g, made) {
  const { mistakes: m, truth } = content.learning, c = content.candidates;
  const largest = (own, of) => made.reduce((best, v, k) => (v === of && (c.labels.at(c.kept[k]) === truth.labels[g]) === own ? Math.max(best, m.iou.row(k)[g]) : best), 0);
  if (largest(true, false) >= 0.5) return "low score";
  if (largest(true, true) >= 0.5) return "merged";
  if (largest(true, true) >= f(0.1)) return "location";
  if (largest(false, true) >= 0.5) return "class";
  return largest(false, true) >= f(0.1) ? "both" : "nothing";
}

// ---- parts

// The page holds masks as crops, one after another; each crop is [top, left, rows, columns].
const MASKS = 100; // objects whose masks are drawn beside the image
const maskStarts = (crops) => { const starts = [0]; for (let g = 0; g < crops.length; g++) starts.push(starts[g] + crops.row(g)[2] * crops.row(g)[3]); return starts; };

function truthPixels(content, g) {
  const t = content.learning.truth;
  t.starts = t.starts || maskStarts(t.maskCrops);
  return t.maskPixels.data.subarray(t.starts[g], t.starts[g + 1]);
}

function truthMask(content, g) {
  const t = content.learning.truth, [height, width] = t.maskSize, [top, left, rows, columns] = t.maskCrops.row(g);
  const crop = truthPixels(content, g), values = new Float32Array(width * height);
  for (let y = 0; y < rows; y++) values.set(crop.subarray(y * columns, (y + 1) * columns), (top + y) * width + left);
  return mapCanvas(values, width, height, grey);
}

function overlayMask(stage, content, g, rgb, alpha) {
  const t = content.learning.truth, [height, width] = t.maskSize, [top, left, rows, columns] = t.maskCrops.row(g);
  if (!rows || !columns) return;
  const x = content.input.resized[0] / width, y = content.input.resized[1] / height;
  const canvas = mapCanvas(Float32Array.from(truthPixels(content, g)), columns, rows, () => rgb, (v) => (v ? alpha : 0));
  stage.overlay(canvas, [left * x, top * y, (left + columns) * x, (top + rows) * y]);
}

const bestRow = (iou, column) => { let best = 0; for (let g = 1; g < iou.length; g++) if (iou.row(g)[column] > iou.row(best)[column]) best = g; return best; };

function anchorMatch(view, anchor, column) {
  const { content } = view, a = content.learning.anchors, d = a.decisions.at(anchor), g = bestRow(a.iou, column), iou = a.iou.row(g)[column], m = content.model.rpn;
  const why = d >= 0 ? (iou >= m.foreground ? `Positive for object ${d}: IoU ${fixed(iou, 3)} is at least ${m.foreground}.` : `Positive for object ${d}: IoU ${fixed(iou, 3)} is below ${m.foreground}, but no anchor overlaps some object more.`)
    : d === -1 ? `Background: its best IoU, ${fixed(iou, 3)}, is below ${m.background}.` : `Ignored: its best IoU, ${fixed(iou, 3)}, lies between ${m.background} and ${m.foreground}.`;
  return [heading(`Anchor ${anchor}`, COLOUR.anchor), el("p", { class: "why", style: { "--c": COLOUR.anchor }, "data-field": "why" }, why), facts([["box", boxText(a.closestBoxes.row(column), 0)], ["drawn for the loss", [...a.sample.data].includes(anchor) ? "yes" : "no"]]),
    heading("IoU with every object"), bars([...Array(a.iou.length).keys()].map((k) => [`${k} ${truthName(content, k)}`, a.iou.row(k)[column], fixed(a.iou.row(k)[column], 3), COLOUR.truth]), 1)];
}

// A hundred of the ignored anchors, from all over.
function someBetween(content) {
  const all = [];
  content.learning.anchors.decisions.data.forEach((d, i) => { if (d === -2) all.push(i); });
  const step = Math.max(1, all.length / 100);
  return [...Array(Math.min(100, all.length)).keys()].map((k) => all[Math.floor(k * step)]).map((anchor) => {
    let first = 0, level = 0;
    const size = (l) => l.rows * l.columns * l.cell.length;
    while (anchor >= first + size(content.anchors[level])) first += size(content.anchors[level++]);
    return { anchor, box: anchorBox(content.anchors[level], anchor - first) };
  });
}

// Each cell shows the strongest decision of its anchors: positive, ignored, background.
function decisionMap(content, i) {
  const level = content.anchors[i], n = level.cell.length, first = content.anchors.slice(0, i).reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0);
  const values = Float32Array.from({ length: level.rows * level.columns }, (_, cell) => {
    let best = 0;
    for (let k = 0; k < n; k++) { const d = content.learning.anchors.decisions.at(first + cell * n + k); best = Math.max(best, d >= 0 ? 2 : d === -2 ? 1 : 0); }
    return best;
  });
  const colours = [[0, 0, 0], hex(COLOUR.point), hex(COLOUR.anchor)];
  return mapCanvas(values, level.columns, level.rows, (v) => colours[v], (v) => (v ? 235 : 0));
}

function iouTable(iou, columns, names, heads) {
  return el("div", { class: "scroll" }, el("table", { class: "grid heat" }, el("tr", {}, el("th", {}), heads.map((h) => el("th", {}, h))),
    names.map((name, g) => el("tr", {}, el("th", {}, name), columns.map((k) => heatCell(iou.row(g)[k]))))));
}

function heatCell(v, bold) {
  const colour = viridis(v);
  return el("td", v > 0.005 ? { style: { background: `rgb(${colour})`, color: inkOn(colour), "font-weight": bold ? "700" : "400" } } : { style: { color: "var(--soft)" } }, fixed(v));
}

function truthTable(content) {
  const l = content.learning, m = l.mistakes, c = content.candidates, shown = c.kept.slice(0, 30);
  return el("div", { class: "scroll" }, el("table", { class: "grid heat" }, el("tr", {}, el("th", {}), shown.map((i) => el("th", { title: className(content, c.labels.at(i)) }, fixed(c.scores.at(i))))),
    l.truth.labels.map((label, g) => el("tr", {}, el("th", {}, `${g} ${truthName(content, g)}`), shown.map((i, k) => heatCell(m.iou.row(k)[g], c.labels.at(i) === label))))));
}

function sampledRegion(view, i, k) {
  const { content } = view, r = content.learning.regions, [, h, w] = r.maskGoals.shape;
  return [heading(`Region ${i}: ${className(content, r.labels[i])}`, k >= 0 ? COLOUR.proposal : COLOUR.dropped),
    facts([["candidate", String(r.sample.at(i))], ["box", boxText(r.boxes.row(i))], k >= 0 && ["positive for object", String(r.matches.at(i))], k >= 0 && ["target", boxText(r.goals.row(i))], r.iou.length && ["IoU", fixed(Math.max(...[...Array(r.iou.length).keys()].map((g) => r.iou.row(g)[r.sample.at(i)])), 3)],
      ["taken for", className(content, r.likeliest[i])], ["probability of its class", fixed(r.trueScores.at(i), 4)], ["adds to the class loss", tiny(r.classifierTerms.at(i))], k >= 0 && ["adds to the box loss", tiny(r.boxTerms.at(i))], k >= 0 && ["adds to the mask loss", tiny(r.maskTerms.at(i))]]),
    k >= 0 && el("div", { class: "trio" }, thumb(mapCanvas(unit(r.maskGoals.row(k)), w, h, grey), "mask target"), thumb(mapCanvas(unit(r.maskProbabilities.row(k)), w, h), "mask now"), thumb(mapCanvas(unit(r.maskPixels.row(k)), w, h), "loss of each pixel"))];
}

function lossTerms(content, name) {
  const { anchors: a, regions: r } = content.learning;
  if (name === "loss_objectness" || name === "loss_rpn_box_reg") {
    return { boxes: (i) => a.sampleBoxes.row(i), terms: [...(name === "loss_objectness" ? a.objectnessTerms : a.boxTerms).data], names: (i) => `Anchor ${a.sample.at(i)}` };
  }
  const terms = { loss_classifier: r.classifierTerms, loss_box_reg: r.boxTerms, loss_mask: r.maskTerms }[name];
  return { boxes: (i) => r.boxes.row(i), terms: [...terms.data], names: (i) => `Region ${i}` };
}

function lossDetails(view, i, name, term) {
  const { content, state } = view, total = content.learning.losses[state.loss], own = facts([["adds", tiny(term)], ["share of this loss", percent(term / (total || 1))]]);
  if (state.loss.startsWith("loss_objectness") || state.loss === "loss_rpn_box_reg") {
    const a = content.learning.anchors;
    return [heading(name, content.lossColours[state.loss]), own, facts([["should be", a.sampleObject.at(i) ? "an object" : "background"], ["objectness", fixed(a.sampleScores.at(i), 4)], ["box", boxText(a.sampleBoxes.row(i), 0)]])];
  }
  const objects = content.learning.regions.labels.map((k, j) => [k, j]).filter(([k]) => k).map(([, j]) => j);
  return [heading(name, content.lossColours[state.loss]), own, ...sampledRegion(view, i, objects.indexOf(i))];
}

function termBars(terms, colour) {
  const width = 300, height = 90, left = 42, svg = svgOf(width, height + 16, `${some(terms.length, "term")}, the largest ${tiny(terms[0] ?? 0)}`), most = Math.max(...terms, 1e-30), step = (width - left) / Math.max(terms.length, 1);
  svg.append(shape("path", { d: `M${left},2V${height}H${width}`, fill: "none", stroke: "var(--edge)" }));
  label(svg, left - 4, 10, tiny(most), "end");
  label(svg, left - 4, height, "0", "end");
  label(svg, left, height + 13, "1st");
  label(svg, width, height + 13, some(terms.length, "term"), "end");
  terms.forEach((t, i) => svg.append(shape("rect", { x: (left + i * step).toFixed(2), y: (height - t / most * (height - 4)).toFixed(2), width: Math.max(step - 0.4, 0.4).toFixed(2), height: (t / most * (height - 4)).toFixed(2), fill: colour })));
  return svg;
}

// Reasons contain class numbers; the page knows the names.
const missText = (content, why) => `${why[0].toUpperCase()}${why.slice(1)}.`.replace(/class (\d+)/g, (_, k) => className(content, Number(k)));
