// The steps of inference: from the image to boxes, classes and masks.

const COLOUR = (() => {
  const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return { truth: read("ground-truth"), anchor: read("anchor"), proposal: read("proposal"), detection: read("detection"),
    mask: read("mask"), point: read("sampling-point"), dropped: read("dropped"), missed: read("missed") };
})();
// What a step with cells looks at when something is followed: the cell of its anchor, on its level.
function toAnchor(view, { anchor, truth }) {
  const { content, state } = view;
  const b = anchor !== undefined ? content.rpn.anchorBoxes.row(anchor) : truthBox(content, truth);
  state.cell = [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2];
  if (anchor !== undefined) state.level = content.rpn.levels.at(anchor);
}
function toRegion(view, { region }) {
  if (region !== undefined) view.state.level = view.content.regions.levels.at(region);
}
function outlineThread(view, stage, colour = "#ffffff") {
  if (view.thread) stage.box(threadBox(view.content, view.thread), colour, "solid", 2);
}

const MAPS = { stem: "first layer", body: "stages", laterals: "lateral 1×1", merged: "merged", pyramid: "pyramid", hidden: "RPN hidden" };
const className = (content, k) => (k === 0 ? "background" : content.model.classes[k - 1] ?? `class ${k}`);
const levelName = (content, i) => `P${Math.round(Math.log2(content.anchors[i].stride[0]))}`;

const INFERENCE = [
  {
    id: "picture", group: "Input", title: "The image",
    text: ({ input: i }) => `The image has ${i.original.join(" × ")} pixels and is <b>resized</b> to ${i.resized.join(" × ")}. Its channels are shifted and scaled to about 0 ± 1, and the batch is padded with zeros to ${i.padded.join(" × ")}. Everything that follows happens in these pixels.`,
    build: (view) => pictureStep(view, view.content),
  },
  mapStep("backbone", "Backbone", ["stem", "body"], "The bottom-up network turns pixels into <b>feature maps</b>: each stage halves the size and sees more of the image at once. Bright means active. Choose a map to lay it over the image."),
  mapStep("pyramid", "Feature pyramid", ["laterals", "merged", "pyramid", "hidden"], "From the coarsest map down, each level is enlarged and <b>added</b> to the next finer one (a 1×1 convolution first gives both the same number of channels). So every level knows what things are, and the fine levels still know where."),
  {
    id: "anchors", group: "First stage", title: "Anchors", kind: "anchor", arrive: toAnchor,
    text: (c) => `Every cell of every level has <b>${c.anchors[0].cell.length} anchors</b>: fixed boxes of one area and several shapes. ${MOVE}: these are the cells' guesses before anything is learned. There are ${c.anchors.reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0).toLocaleString("en")} of them.`,
    build: (view) => {
      const { content, state } = view, levels = content.anchors;
      const at = state.cell || [content.input.resized[0] / 2, content.input.resized[1] / 2];
      const chosen = state.level < 0 ? levels.map((_, i) => i) : [Math.min(state.level, levels.length - 1)];
      return {
        margin: state.level < 0 ? 0.3 : overhang(levels[chosen[0]], content.input.resized), noChips: true,
        controls: choice("level", [...levels.map((_, i) => [i, levelName(content, i)]), [-1, "all"]], state.level, (v) => view.set("level", v)),
        move: (place) => { state.cell = place; view.refresh(); return true; },
        step: levels[chosen[0]].stride,
        paint: (stage) => {
          stage.fade(0.25);
          for (const i of chosen) {
            for (const a of cellAnchors(levels[i], at)) stage.box(a.box, state.level < 0 ? content.levelColours[i] : COLOUR.anchor, "solid", 2);
            const [x, y] = cellCentre(levels[i], at);
            if (state.level >= 0) stage.dot(x, y, COLOUR.anchor, 3);
          }
          outlineThread(view, stage, COLOUR.detection);
        },
        panel: () => [heading("Levels"), grid(["level", "cells", "stride", "size", "anchors"], levels.map((l, i) => [levelName(content, i), `${l.columns} × ${l.rows}`, l.stride[0], l.sizes.map((s) => fixed(s, 0)).join(" "), (l.rows * l.columns * l.cell.length).toLocaleString("en")])),
          chosen.map((i) => [heading(`${levelName(content, i)}: the anchors of this cell`, COLOUR.anchor),
            facts(cellAnchors(levels[i], at).map((a, k) => [`ratio ${fixed(levels[i].ratios[k % levels[i].ratios.length], 2)}`, `${boxText(a.box, 0)} · objectness 1 / (1 + exp(${fixed(-a.logit)})) = ${fixed(a.score, 3)}`]))])],
      };
    },
  },
  {
    id: "objectness", group: "First stage", title: "Objectness", kind: "anchor", arrive: toAnchor,
    text: () => "A small network slides over every level and scores how much each anchor <b>looks like an object</b> of any class. The map shows the highest score of each cell. " + MOVE + " to read a cell.",
    build: (view) => {
      const { content, state } = view, i = Math.max(0, Math.min(state.level, content.anchors.length - 1)), level = content.anchors[i];
      const best = bestOfCells(level);
      const at = state.cell || [content.input.resized[0] / 2, content.input.resized[1] / 2];
      return {
        noChips: true,
        controls: choice("level", content.anchors.map((_, k) => [k, levelName(content, k)]), i, (v) => view.set("level", v)),
        move: (place) => { state.cell = place; view.refresh(); return true; },
        step: level.stride,
        paint: (stage) => {
          stage.fade(0.35);
          stage.overlay(mapCanvas(best, level.columns, level.rows, viridis, (v) => (v < LEAST_HEAT ? 70 : 215)), cellsArea(level));
          const [x, y] = cellCentre(level, at);
          stage.dot(x, y, "#ffffff", 3);
          outlineThread(view, stage);
        },
        wide: [heatScale("objectness", [[0, "0"], [0.25, "0.25"], [0.5, "0.5"], [0.75, "0.75"], [1, "1"]], "the image shows through where all scores are below 0.05")],
        panel: () => [heading(`${levelName(content, i)}: anchors of this cell`, COLOUR.anchor),
          bars(cellAnchors(level, at).map((a, k) => [`ratio ${fixed(level.ratios[k % level.ratios.length], 2)}`, a.score, fixed(a.score, 3), COLOUR.anchor]), 1),
          sumPanel(view, "objectness", i, strongest(level, at), at),
          heading("Cells above one half"), facts(content.anchors.map((l, k) => { const b = bestOfCells(l); return [levelName(content, k), `${b.reduce((s, v) => s + (v > 0.5), 0)} of ${b.length}`]; })),
          offsetCharts(content, COLOUR.anchor)],
      };
    },
  },
  {
    id: "refine", group: "First stage", title: "Anchors become boxes", kind: "anchor", few: "anchor",
    text: (c) => `Four numbers tell each anchor how to <b>move and stretch</b>, relative to its own size. The best ${c.model.rpn.perLevel} of each level go on. Here are the anchors with the highest scores (dotted) and their boxes (dashed).`,
    build: (view) => {
      const { content, state } = view, r = content.rpn, boxes = state.clipped ? r.clipped : r.moved;
      const rows = [...new Set([...byScore(r.scores).slice(0, BEST), ...(view.thread?.anchor === undefined ? [] : [view.thread.anchor])])];
      return {
        margin: state.clipped ? 0 : 0.12,
        controls: [choice("boxes", [[false, "as moved"], [true, "clipped"]], state.clipped, (v) => view.set("clipped", v)),
          choice("show", [["boxes", "boxes"], ["corners", "all corners"]], state.corners || "boxes", (v) => view.set("corners", v))],
        legend: [["anchor", COLOUR.anchor, "dotted"], ["its box", COLOUR.proposal, "dashed"]],
        hits: rows.map((p) => anchorHit(view, p, boxes.row(p), () => rpnDetails(view, p))),
        paint: (stage) => {
          stage.fade(0.3);
          if (state.corners === "corners") {
            for (let p = 0; p < boxes.length; p++) { const b = boxes.row(p); stage.dot(b[0], b[1], COLOUR.anchor, 1.6); stage.dot(b[2], b[3], COLOUR.proposal, 1.6); }
            return;
          }
          for (const h of byStrength(view)) {
            const alpha = view.strength(h);
            stage.box(r.anchorBoxes.row(h.key), COLOUR.anchor, "dotted", 1.6, h.strong || h.key === view.focused ? alpha : alpha / 3);
            stage.box(h.box, COLOUR.proposal, "dashed", 1.8, alpha);
            if (h.key === view.focused) stage.arrow(middleOf(r.anchorBoxes.row(h.key)), middleOf(r.moved.row(h.key)), COLOUR.proposal);
          }
        },
        panel: () => [offsetCharts(content, COLOUR.proposal),
          el("p", { class: "quiet" }, "dx, dy: the shift of the centre, in units of the anchor's sides. dw, dh: the logarithm of the change in width and height.")],
      };
    },
  },
  {
    id: "proposals", group: "First stage", title: "Proposals", kind: "anchor", few: "box",
    arrive: (view, { anchor }) => { if (anchor !== undefined) view.state.outcome = rpnOutcomes(view)[anchor].outcome; },
    text: (c) => `If boxes of one level overlap by more than ${c.model.rpn.nms}, <b>only the one with the highest score stays</b> (non-maximum suppression). The best ${c.model.rpn.limit} of those that stay become proposals. Choose a filter to see what it removed; ${TAP} a box to see why.`,
    build: (view) => {
      const { content, state } = view, r = content.rpn, outcomes = rpnOutcomes(view);
      const kinds = { kept: [], small: [], lowScore: [], overlap: [], beyondLimit: [] };
      outcomes.forEach((f, p) => kinds[f.outcome].push(p));
      const rows = kinds[state.outcome].sort((a, b) => r.scores.at(b) - r.scores.at(a) || a - b);
      const anchors = content.anchors.reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0);
      return {
        controls: slider("NMS threshold", "rpn-nms", state.rpnNms, [0.05, 1, 0.01], (v) => view.set("rpnNms", v, false)),
        legend: [["proposal", COLOUR.proposal, "dashed"], ["removed", COLOUR.dropped, "dotted"], ["the box that stayed instead", COLOUR.detection]],
        count: [el("output", { id: "proposal-count" }, String(kinds.kept.length)), ` proposals${state.rpnNms === content.model.rpn.nms ? "" : " (the next steps use the model's own threshold)"}`],
        hits: rows.map((p) => anchorHit(view, p, r.clipped.row(p), () => rpnDetails(view, p, outcomes[p]))),
        paint: (stage) => {
          stage.fade(0.3);
          const kept = state.outcome === "kept";
          for (const h of byStrength(view)) stage.box(h.box, kept ? COLOUR.proposal : COLOUR.dropped, kept ? "dashed" : "dotted", h.strong ? 1.8 : 1.1, view.strength(h));
          if (view.hit) {
            stage.box(r.anchorBoxes.row(view.focused), COLOUR.anchor, "dotted", 1.6);
            stage.box(r.clipped.row(view.focused), kept ? COLOUR.proposal : COLOUR.dropped, "solid", 2.6);
            const winner = outcomes[view.focused].by;
            if (winner !== undefined) stage.box(r.clipped.row(winner), COLOUR.detection, "solid", 2.4);
          }
        },
        panel: () => [heading("What happened to the anchors"),
          facts([["anchors", anchors.toLocaleString("en")], ["best of each level", r.scores.length.toLocaleString("en")]]),
          bars(Object.entries(OUTCOMES).map(([key, name]) => [name, kinds[key].length, String(kinds[key].length), key === "kept" ? COLOUR.proposal : COLOUR.dropped, key]), r.scores.length, (key) => { view.pinned = null; view.focused = null; view.set("outcome", key); }, state.outcome),
          content.learning ? [heading("Objects covered (IoU ≥ 0.7)", COLOUR.truth), facts([["by some anchor", percent(content.learning.anchors.recalls.anchors)], ["by a moved box", percent(content.learning.anchors.recalls.moved)], ["by a proposal", percent(content.learning.anchors.recalls.proposals)]])] : null],
      };
    },
  },
  {
    id: "levels", group: "Second stage", title: "RoIAlign", kind: "region", few: "proposal",
    text: () => "Each proposal is <b>cropped</b> out of the level that suits its size, to a grid of 7 × 7. Every number is the mean of four bilinear samples (the dots), and no coordinate is rounded.",
    build: (view) => {
      const { content } = view, g = content.regions, r = content.rpn;
      const hits = [...Array(r.proposals.length).keys()].map((i) => ({ key: i, box: proposalBox(content, i), text: `proposal ${i} from ${levelName(content, g.levels.at(i))}`, short: `${i} · ${levelName(content, g.levels.at(i))}`, details: () => regionDetails(view, i) }));
      const controls = hits.length ? whatIfButton(view, proposalBox(content, view.thread?.region ?? 0)) : null, tried = whatIf(view, false);
      if (tried) return { ...tried, controls };
      return {
        hits, controls,
        legend: [...content.anchors.slice(0, -1).keys()].map((i) => [`from ${levelName(content, i)}`, content.levelColours[i]]),
        paint: (stage) => {
          stage.fade(0.3);
          for (const h of byStrength(view)) stage.box(h.box, content.levelColours[g.levels.at(h.key)], "solid", h.strong ? 1.8 : 1.1, view.strength(h));
          if (view.hit) { stage.box(view.hit.box, COLOUR.proposal, "dashed", 2.2); points(stage, g, view.focused); }
        },
        panel: () => { const counts = content.anchors.slice(0, -1).map(() => 0); g.levels.data.forEach((l) => counts[l]++);
          return [heading("Proposals by level"), bars(counts.map((n, i) => [levelName(content, i), n, String(n), content.levelColours[i]]), Math.max(...counts)),
            el("p", { class: "quiet" }, `level = floor(${content.model.canonicalLevel} + log₂(√area / ${content.model.canonicalScale}))`), el("p", { class: "quiet" }, `${HOVER} a proposal to see where RoIAlign samples and what it finds.`)]; },
      };
    },
  },
  {
    id: "classes", group: "Second stage", title: "Classes and boxes", kind: "region", few: "proposal",
    text: (c) => `Two layers read each crop. They say <b>what it is</b>, one of ${c.model.classes.length + 1} classes including background, and how its box should move, <b>separately for each class</b>. ${HOVER} a proposal: dashed before, solid after.`,
    build: (view) => {
      const { content } = view, g = content.regions, r = content.rpn;
      const label = [...Array(r.proposals.length).keys()].map((i) => argmax(g.scores.row(i)));
      const order = label.map((_, i) => i).sort((a, b) => (label[a] === 0) - (label[b] === 0) || g.scores.row(b)[label[b]] - g.scores.row(a)[label[a]]);
      const hits = order.map((i) => ({ key: i, box: r.clipped.row(r.proposals.at(i)), text: `proposal ${i}: ${className(content, label[i])} ${fixed(g.scores.row(i)[label[i]])}`, short: `${className(content, label[i])} ${fixed(g.scores.row(i)[label[i]])}`, details: () => classDetails(view, i) }));
      return {
        hits,
        legend: [["taken for an object", COLOUR.proposal, "dashed"], ["taken for background", COLOUR.dropped, "dotted"], ["moved by its class's offsets", COLOUR.detection]],
        count: `${label.filter((k) => k > 0).length} of ${label.length} proposals are taken for an object`,
        paint: (stage) => {
          stage.fade(0.3);
          for (const h of byStrength(view)) stage.box(h.box, label[h.key] ? COLOUR.proposal : COLOUR.dropped, label[h.key] ? "dashed" : "dotted", h.strong ? 1.8 : 1.1, view.strength(h));
          if (!view.hit) return;
          stage.box(view.hit.box, COLOUR.proposal, "dashed", 2);
          for (const c of candidatesOf(content, view.focused)) if (content.candidates.labels.at(c) === label[view.focused]) { stage.box(content.candidates.boxes.row(c), COLOUR.detection, "solid", 2.4); stage.tag(content.candidates.boxes.row(c), className(content, label[view.focused]), COLOUR.detection); }
        },
        panel: () => { const counts = new Map(); label.forEach((k) => counts.set(k, (counts.get(k) || 0) + 1));
          return [heading("What the proposals are taken for"), bars([...counts].sort((a, b) => b[1] - a[1]).map(([k, n]) => [className(content, k), n, String(n), k ? COLOUR.proposal : COLOUR.dropped]), label.length)]; },
      };
    },
  },
  {
    id: "filters", group: "Second stage", title: "Which boxes stay", kind: "candidate", few: "box",
    arrive: (view, { candidate }) => { if (candidate !== undefined) view.state.outcome = selectDetections(view.content, view.state.score, view.state.nms).outcomes.get(candidate).outcome; },
    text: (c) => `Every pair of a proposal and a class is a candidate. Three filters drop those <b>below the score threshold</b>, those with no size, and those that <b>overlap one with a higher score${c.model.roi.agnostic ? "" : " in their class"}</b>; the best ${c.model.roi.limit} remain. The sliders run the filters again. ${FINGER ? "Tap" : "Click"} a box to see why it was dropped.`,
    build: (view) => {
      const { content, state } = view, c = content.candidates, { shown, outcomes } = selectDetections(content, state.score, state.nms);
      const kinds = { kept: [], small: [], lowScore: [], overlap: [], beyondLimit: [] };
      outcomes.forEach((f, i) => kinds[f.outcome].push(i));
      const below = content.regions.scores.length * content.model.classes.length - c.rows.length;
      const rows = state.outcome === "kept" ? shown : kinds[state.outcome].sort((a, b) => c.scores.at(b) - c.scores.at(a));
      const kept = state.outcome === "kept";
      return {
        controls: [...sliders(view)],
        legend: [["detection", COLOUR.detection], ["removed", COLOUR.dropped, "dotted"], ["its proposal", COLOUR.proposal, "dashed"]],
        count: countLine(shown.length),
        hits: rows.map((i) => ({ key: i, box: c.boxes.row(i), text: `${className(content, c.labels.at(i))} ${fixed(c.scores.at(i))}`, details: () => detectionDetails(view, i, outcomes.get(i)) })),
        paint: (stage) => {
          stage.fade(0.25);
          for (const h of byStrength(view)) stage.box(h.box, kept ? COLOUR.detection : COLOUR.dropped, kept ? "solid" : "dotted", h.strong ? 1.8 : 1.1, view.strength(h));
          if (!view.hit) return;
          stage.box(proposalBox(content, c.rows.at(view.focused)), COLOUR.proposal, "dashed", 1.6);
          stage.box(c.boxes.row(view.focused), kept ? COLOUR.detection : COLOUR.dropped, "solid", 2.6);
          const winner = outcomes.get(view.focused).by;
          if (winner !== undefined) { stage.box(c.boxes.row(winner), COLOUR.detection, "solid", 2.6); stage.tag(c.boxes.row(winner), `stayed: ${fixed(c.scores.at(winner))}`, COLOUR.detection); }
        },
        panel: () => [heading("Candidates"), facts([["pairs of proposal and class", (content.regions.scores.length * content.model.classes.length).toLocaleString("en")], [`below ${content.model.floor}: not on this page`, below.toLocaleString("en")]]),
          bars(Object.entries(OUTCOMES).map(([key, name]) => [key === "kept" ? "detection" : name, kinds[key].length, String(kinds[key].length), key === "kept" ? COLOUR.detection : COLOUR.dropped, key]), c.rows.length, (key) => { view.pinned = null; view.focused = null; view.set("outcome", key); }, state.outcome),
          heading("Proposals that suppression compares, by class"), grid(["class", "before", "after"], comparedByClass(content, outcomes))],
      };
    },
  },
  {
    id: "masks", group: "Second stage", title: "Masks", kind: "candidate",
    arrive: (view, { candidate }) => { view.state.mine = candidate; },
    text: (c) => "For each detection the mask branch predicts one mask per class on a grid of <b>28 × 28</b>; the box's class decides which one is used. Pasting enlarges it to the box" + (c.model.exactPaste ? ", <b>as it is</b>: the box is not rounded to pixels." : ", which is first grown by the mask's padding and <b>truncated to whole pixels</b>."),
    build: (view) => {
      const { content, state } = view, c = content.candidates, shown = withMasks(view);
      if (!shown.includes(state.mine)) state.mine = shown[0];
      const mine = state.mine;
      return {
        zoom: mine === undefined ? null : around(c.boxes.row(mine), content.input.resized),
        noChips: true,
        controls: [slider("mask threshold", "mask-threshold", state.mask, [0.02, 0.98, 0.01], (v) => view.set("mask", v, false)), ...sliders(view)],
        legend: [["box", COLOUR.detection], ...(content.model.exactPaste ? [] : [["whole pixels it is pasted to", COLOUR.mask, "dashed"]]), ["mask", COLOUR.mask]],
        count: countLine(selectDetections(content, state.score, state.nms).shown.length),
        paint: (stage) => {
          if (mine === undefined) return;
          stage.mask(view.paste(mine), state.mask, COLOUR.mask);
          const row = c.maskRow.get(mine), [x, y] = ratios(content), p = c.pasteBoxes.row(row);
          stage.box(c.boxes.row(mine), COLOUR.detection, "solid", 2);
          if (!content.model.exactPaste) stage.box([p[0] * x, p[1] * y, (p[2] + 1) * x, (p[3] + 1) * y], COLOUR.mask, "dashed", 2);
        },
        panel: () => mine === undefined ? [el("p", { class: "quiet" }, "No detection at these thresholds.")] : [
          heading("Detections"), el("div", { class: "thumbs" }, shown.slice(0, 40).map((i) => el("button", { type: "button", "aria-pressed": String(i === mine), "aria-label": `${className(content, c.labels.at(i))} ${fixed(c.scores.at(i))}`, onclick: () => view.follow({ candidate: i }) },
            thumb(maskOf(content, i), `${className(content, c.labels.at(i))} ${fixed(c.scores.at(i))}`)))),
          maskPanel(view, mine), allClassMasks(content, mine)],
      };
    },
  },
  {
    id: "result", group: "Result", title: "The result", kind: "candidate",
    text: () => "What remains. Move the thresholds, and the page decides again as the model would. <b>" + HOVER + " a detection</b> to see its anchor, its proposal, its sampling points, its mask and every number that led to it.",
    build: (view) => {
      const { content, state } = view, c = content.candidates, { shown, outcomes } = selectDetections(content, state.score, state.nms);
      return {
        controls: [...sliders(view), slider("mask threshold", "mask-threshold", state.mask, [0.02, 0.98, 0.01], (v) => view.set("mask", v, false))],
        legend: [["detection", COLOUR.detection], ["mask", COLOUR.mask], ["proposal", COLOUR.proposal, "dashed"], ["anchor", COLOUR.anchor, "dotted"], ["sampling points", COLOUR.point]],
        count: countLine(shown.length),
        hits: shown.map((i) => ({ key: i, box: c.boxes.row(i), text: `${className(content, c.labels.at(i))} ${fixed(c.scores.at(i))}`, details: () => detectionDetails(view, i, outcomes.get(i)) })),
        paint: (stage) => {
          const only = view.focused;
          const lowest = [...shown].reverse();
          for (const i of lowest) if (view.paste(i) && (only === null || i === only)) stage.mask(view.paste(i), state.mask, COLOUR.mask);
          for (const i of lowest) stage.box(c.boxes.row(i), COLOUR.detection, "solid", i === only || only === null ? 2 : 1, i === only || only === null ? 1 : 0.3);
          if (only === null) for (const i of lowest.slice(-25)) stage.tag(c.boxes.row(i), `${className(content, c.labels.at(i))} ${fixed(c.scores.at(i))}`, COLOUR.detection);
          if (only === null) return;
          const row = c.rows.at(only);
          stage.box(content.rpn.anchorBoxes.row(content.rpn.proposals.at(row)), COLOUR.anchor, "dotted", 2);
          stage.box(proposalBox(content, row), COLOUR.proposal, "dashed", 2);
          points(stage, content.regions, row);
        },
        panel: () => [heading("Detections"), shown.length ? grid(["class", "score", "box in the image"], shown.map((i) => [className(content, c.labels.at(i)), fixed(c.scores.at(i), 3), boxText(c.original.row(i), 0)])) : el("p", { class: "quiet" }, "Nothing above this score.")],
      };
    },
  },
];

const BEST = 100; // anchors that the page moves; what is followed comes on top
const LEAST_HEAT = 0.05; // below it a cell of the objectness map is see-through

const OUTCOMES = { kept: "proposal", small: "too small", lowScore: "score too low", overlap: "overlaps one with a higher score", beyondLimit: "beyond the limit" };

function pictureStep(view, { input: i, model, title, version, channelColours }) {
  return {
    paint: (stage) => outlineThread(view, stage, COLOUR.detection),
    panel: () => [heading("The input"),
      facts([["file", title], ["original", `${i.original[0]} × ${i.original[1]}`], ["resized", `${i.resized[0]} × ${i.resized[1]}`, "resized"],
        ["scale", fixed(i.resized[0] / i.original[0], 4)], ["padded", `${i.padded[0]} × ${i.padded[1]}`],
        ["mean", i.mean.map((v) => fixed(v, 3)).join("  ")], ["deviation", i.std.map((v) => fixed(v, 3)).join("  ")]]),
      heading("Normalised values by channel"), histogram([...Array(i.histogram.length).keys()].map((k) => i.histogram.row(k)), i.range, channelColours, 74, "value"),
      heading("The model"), facts([["name", model.name], ["parameters", model.parameters.toLocaleString("en")], ["classes", model.classes.length > 8 ? some(model.classes.length, "class") : model.classes.join(", ")], ["tinymaskrcnn", version]])],
  };
}

function mapStep(id, title, kinds, text) {
  return {
    id, group: "Features", title, text: () => text, arrive: toRegion,
    build: (view) => {
      const { content, state } = view, offered = kinds.filter((k) => k !== "stem" || content.stem), kind = offered.includes(state[id]) ? state[id] : (id === "backbone" ? "body" : "pyramid");
      const which = offered.length > 1 && choice("map", offered.map((k) => [k, MAPS[k]]), kind, (v) => view.set(id, v));
      if (kind === "stem") return firstLayerStep(view, which);
      const maps = content.maps[kind], i = Math.min(Math.max(state.level, 0), maps.length - 1), map = maps[i], channel = Math.min(state.channel || 0, map.planes.length - 1);
      const name = (k) => (id === "backbone" ? `C${k + 2}` : levelName(content, k));
      const at = state.cell || content.input.resized.map((side) => side / 2), adds = kind === "merged" || (id === "pyramid" && content.sums);
      const sums = kind === "merged" && channel > 0 && mergedText(content, i, channel, at);
      const range = `${tiny(map.low[channel])} to ${tiny(map.high[channel])}`;
      return {
        noChips: true,
        move: adds ? (place) => { state.cell = place; view.refresh(); return true; } : null,
        step: adds ? content.anchors[i].stride : null,
        controls: [which, choice("level", maps.map((_, k) => [k, name(k)]), i, (v) => view.set("level", v))],
        paint: (stage) => {
          stage.overlay(plane(map, channel), [0, 0, ...content.input.padded], 0.86);
          outlineThread(view, stage);
          if (adds) stage.dot(...cellCentre(content.anchors[i], at), "#ffffff", 3);
        },
        panel: () => [heading(`${name(i)}: ${map.size[1]} × ${map.size[0]} cells, ${map.size[2]} channels`),
          sums && [heading("How the number at this cell comes about"), facts(sums), el("p", { class: "fine" }, `${MOVE} for another cell. Maps on this page have 256 shades, so the last digit may be off.`.replace(/<\/?kbd>/g, ""))],
          channel > 0 && adds && sumPanel(view, kind, i, channel - 1, at),
          el("p", { class: "quiet" }, `${channel ? `channel ${channel - 1}` : "mean size of all channels"}: ${range}${adds && !channel ? ". Choose a channel to see how a number comes about." : ""}`),
          el("div", { class: "thumbs" }, [...Array(map.planes.length).keys()].map((k) => el("button", { type: "button", "aria-pressed": String(k === channel), "aria-label": k ? `channel ${k - 1}` : "mean of all channels", onclick: () => view.set("channel", k) }, thumb(plane(map, k), k ? `channel ${k - 1}` : "mean |·|")))),
          heading("All levels"), el("div", { class: "thumbs" }, maps.map((m, k) => thumb(plane(m, Math.min(channel, m.planes.length - 1)), `${name(k)}: ${m.size[1]} × ${m.size[0]}`)))],
      };
    },
  };
}

// ---- cells and anchors

function cellOf(level, [x, y]) {
  const limit = (v, n) => Math.max(0, Math.min(n - 1, v));
  return limit(Math.round(y / level.stride[0]), level.rows) * level.columns + limit(Math.round(x / level.stride[1]), level.columns);
}
function cellCentre(level, at) {
  const cell = cellOf(level, at);
  return [(cell % level.columns) * level.stride[1], Math.floor(cell / level.columns) * level.stride[0]];
}
function cellAnchors(level, at) {
  const n = level.cell.length, first = cellOf(level, at) * n;
  return level.cell.map((_, k) => ({ box: anchorBox(level, first + k), logit: level.logits.at(first + k), score: sigmoid(level.logits.at(first + k)) }));
}
// Which of a cell's anchors has the highest score.
const strongest = (level, at) => argmax(cellAnchors(level, at).map((a) => a.logit));
// The part of the plane that a map's cells cover: a cell is centred on a multiple of the stride.
function cellsArea(level) {
  const [y, x] = level.stride;
  return [-x / 2, -y / 2, (level.columns - 0.5) * x, (level.rows - 0.5) * y];
}
function bestOfCells(level) {
  if (!level.best) {
    const n = level.cell.length;
    level.best = Float32Array.from({ length: level.rows * level.columns }, (_, cell) => {
      let best = -Infinity;
      for (let k = 0; k < n; k++) best = Math.max(best, level.logits.at(cell * n + k));
      return sigmoid(best);
    });
  }
  return level.best;
}

// ---- the first stage again, at another threshold

function rpnOutcomes(view) {
  const { content, state } = view, r = content.rpn, own = ["kept", "small", "lowScore", "overlap", "beyondLimit"];
  if (state.rpnNms === content.model.rpn.nms) {
    return [...r.outcomes.data].map((v, p) => ({ outcome: own[v], by: r.suppressors.at(p) < 0 ? undefined : r.suppressors.at(p) }));
  }
  const passing = [...r.outcomes.data.keys()].filter((p) => r.outcomes.at(p) !== 1 && r.outcomes.at(p) !== 2);
  const { kept, by } = suppressGroups(passing.map((p) => r.clipped.row(p)), passing.map((p) => r.scores.at(p)), passing.map((p) => r.levels.at(p)), state.rpnNms);
  const outcomes = [...r.outcomes.data].map((v) => ({ outcome: own[v] }));
  by.forEach((winner, i) => (outcomes[passing[i]] = { outcome: "overlap", by: passing[winner] }));
  kept.forEach((i, rank) => (outcomes[passing[i]] = { outcome: rank < content.model.rpn.limit ? "kept" : "beyondLimit" }));
  return outcomes;
}

// ---- details

function rpnDetails(view, p, outcome) {
  const { content } = view, r = content.rpn, why = outcome && whyRpn(content, p, outcome);
  return [heading(outcome && outcome.outcome === "kept" ? "Proposal" : "Anchor and its box", COLOUR.proposal), why && el("p", { class: "why", "data-field": "why" }, why),
    outcome?.outcome === "overlap" && facts([["IoU", iouText(r.clipped.row(p), r.clipped.row(outcome.by)), "iou"]]),
    facts([["anchor", `${r.anchors.at(p)} on ${levelName(content, r.levels.at(p))}`, "anchor"], ["anchor box", boxText(r.anchorBoxes.row(p), 0)], ["objectness", fixed(r.scores.at(p), 4), "objectness"],
      ["dx  dy  dw  dh", boxText(r.deltas.row(p), 2)], ...decodingText(r.anchorBoxes.row(p), r.deltas.row(p)), ["moved", boxText(r.moved.row(p))], ["clipped", boxText(r.clipped.row(p))]])];
}

function whyRpn(content, p, { outcome, by }) {
  const r = content.rpn, m = content.model.rpn;
  if (outcome === "overlap") return `Dropped: it overlaps a box of the same level with a higher score (objectness ${fixed(r.scores.at(by), 3)}) by IoU ${fixed(overlap(r.clipped.row(p), r.clipped.row(by)))}.`;
  return { kept: null, small: "Dropped: a side is shorter than a thousandth of a pixel.", lowScore: `Dropped: its score is below ${m.score}.`,
    beyondLimit: `Dropped: it passed every filter, but ${m.limit} boxes have higher scores.` }[outcome];
}

function regionDetails(view, i) {
  const { content } = view, g = content.regions, b = proposalBox(content, i), side = Math.sqrt((b[2] - b[0]) * (b[3] - b[1])), [bins] = g.samples;
  return [heading(`Proposal ${i}`, COLOUR.proposal),
    facts([["box", boxText(b)], ["√area", fixed(side, 1)], ["level", `${levelName(content, g.levels.at(i))} = floor(${content.model.canonicalLevel} + log₂(${fixed(side, 1)} / ${content.model.canonicalScale})), kept in range`, "level"], ["stride", String(g.strides[g.levels.at(i)])],
      ["samples", `${g.pointsX.shape[1]} × ${g.pointsY.shape[1]}`], ["first point", `${fixed(g.pointsX.row(i)[0])}, ${fixed(g.pointsY.row(i)[0])}`, "point"]]),
    binPanel(view, i),
    heading("Its crop"), el("div", { class: "thumbs" }, thumb(cropCanvas(g, i, bins), "mean |·| of all channels"), channelThumbs(g, i))];
}

function channelThumbs(g, i) {
  const k = g.croppedRows.indexOf(i);
  return k < 0 ? [] : [...Array(g.shownChannels).keys()].map((c) => thumb(plane(g.channels, k * g.shownChannels + c), `channel ${c}`));
}

function cropCanvas(g, i, bins) {
  const values = g.crops.row(i), most = Math.max(...values, 1e-9);
  return mapCanvas(values.map((v) => v / most), bins, bins);
}

function classDetails(view, i) {
  const { content } = view, scores = content.regions.scores.row(i), mine = candidatesOf(content, i), c = content.candidates;
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, 8);
  return [heading(`Proposal ${i}`, COLOUR.proposal), bars(order.map((k) => [className(content, k), scores[k], fixed(scores[k], 3), k ? COLOUR.proposal : COLOUR.dropped]), 1),
    heading("Where each class would move it", COLOUR.detection), mine.length ? grid(["class", "dx dy dw dh", "box"], mine.map((k) => [className(content, c.labels.at(k)), boxText(c.deltas.row(k), 2), boxText(c.boxes.row(k), 0)])) : el("p", { class: "quiet" }, "No class is above the lowest score."),
    facts([["before", boxText(proposalBox(content, i))], ...(mine.length ? decodingText(proposalBox(content, i), c.deltas.row(mine[0]), content.model.roi.weights) : [])]),
    content.model.roi.weights.some((v) => v !== 1) && mine.length > 0 && el("p", { class: "fine" }, `The offsets are first divided by ${content.model.roi.weights.join(", ")}.`)];
}

function detectionDetails(view, i, outcome) {
  const { content, state } = view, c = content.candidates, r = content.rpn, g = content.regions, row = c.rows.at(i), p = r.proposals.at(row), label = c.labels.at(i);
  const scores = g.scores.row(row), order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, 5), why = whyDetection(view, i, outcome);
  const maskRow = c.maskRow.get(i);
  return [heading(`${className(content, label)} ${fixed(c.scores.at(i), 3)}`, outcome.outcome === "kept" ? COLOUR.detection : COLOUR.dropped), why && el("p", { class: "why", "data-field": "why" }, why), verdictOf(view, i),
    outcome.outcome === "overlap" && facts([["IoU", iouText(c.boxes.row(i), c.boxes.row(outcome.by)), "iou"]]),
    facts([["score", fixed(c.scores.at(i), 4), "score"], ["box in the image", boxText(c.original.row(i)), "box"], ["in the resized image", boxText(c.boxes.row(i))]]),
    bars(order.map((k) => [className(content, k), scores[k], fixed(scores[k], 3), k === label ? COLOUR.detection : COLOUR.dropped]), 1),
    heading(`Proposal ${row}`, COLOUR.proposal), facts([["box", boxText(r.clipped.row(p)), "proposal"], ["level", levelName(content, g.levels.at(row)), "level"], ["class offsets", boxText(c.deltas.row(i), 2)]]),
    el("div", { class: "trio" }, thumb(cropCanvas(g, row, g.samples[0]), "its 7 × 7 crop"), maskRow !== undefined && thumb(maskOf(content, i), "its 28 × 28 mask"), maskRow !== undefined && thumb(binaryMask(content, i, state.mask), `above ${fixed(state.mask)}`)),
    heading("Anchor", COLOUR.anchor), facts([["number", `${r.anchors.at(p)} on ${levelName(content, r.levels.at(p))}`, "anchor"], ["box", boxText(r.anchorBoxes.row(p), 0)], ["objectness", fixed(r.scores.at(p), 4), "objectness"], ["offsets", boxText(r.deltas.row(p), 2)]]),
    maskRow !== undefined ? maskPanel(view, i, false) : el("p", { class: "quiet" }, "Its mask is not on this page: only those of the best candidates are.")];
}

function whyDetection(view, i, outcome) {
  const { content, state } = view, c = content.candidates;
  if (outcome.outcome === "overlap") return `Dropped: it overlaps another ${className(content, c.labels.at(i))} with a higher score (${fixed(c.scores.at(outcome.by), 3)}) by IoU ${fixed(overlap(c.boxes.row(i), c.boxes.row(outcome.by)))}, more than ${fixed(state.nms)}.`;
  return { kept: null, small: "Dropped: a side is shorter than a hundredth of a pixel.", lowScore: `Dropped: its score ${fixed(c.scores.at(i), 3)} is not above ${fixed(state.score)}.`, beyondLimit: `Dropped: ${content.model.roi.limit} detections have higher scores.` }[outcome.outcome];
}

function verdictOf(view, i) {
  const { content } = view, l = content.learning, place = content.candidates.kept.indexOf(i);
  if (!l || place < 0) return null;
  const kind = l.mistakes.kinds[place], g = l.mistakes.matches[place];
  const text = g >= 0 ? `Right: it is object ${g} (${className(content, l.truth.labels[g])}), IoU ${fixed(l.mistakes.iou.row(place)[g])}.` : MISTAKES[kind];
  return el("p", { class: "why", style: { "--c": g >= 0 ? COLOUR.truth : l.mistakes.colours[kind] ?? COLOUR.dropped }, "data-field": "verdict" }, text);
}

const MISTAKES = {
  duplicate: "Wrong: a detection with a higher score already has this object.", class: "Wrong: the box is good, but the class is not.", location: "Wrong: the right class, but the box overlaps the object by less than one half.",
  both: "Wrong: neither the class nor the box is good enough.", background: "Wrong: there is no object here.", crowd: "Not counted: it lies in a crowd region.",
};

function maskPanel(view, i, titled = true) {
  const { content, state } = view, c = content.candidates, row = c.maskRow.get(i), pasted = view.paste(i), limit = f(state.mask);
  const p = c.pasteBoxes.row(row), b = c.original.row(i), m = c.masks.shape[1], grown = [0, 1, 2, 3].map((k) => { const a = k % 2, centre = (b[a] + b[a + 2]) / 2, half = (b[a + 2] - b[a]) / 2 * (m + 2) / m; return k < 2 ? centre - half : centre + half; });
  return [titled ? heading("Pasting", COLOUR.mask) : heading("Mask", COLOUR.mask),
    facts([["pixels above the threshold", pasted.values.reduce((s, v) => s + (v > limit), 0).toLocaleString("en"), "mask-pixels"], ["box", boxText(b, 2)],
      ...(content.model.exactPaste ? [] : [["grown for the padding", boxText(grown, 2)], ["truncated to whole pixels", boxText([p[0], p[1], p[2], p[3]], 0), "paste-box"], ["lost by truncating", boxText(grown.map((v, k) => v - p[k]), 2)]])])];
}

function allClassMasks(content, i) {
  const c = content.candidates, place = c.kept.indexOf(i);
  if (place < 0 || place >= c.classMasks.length) return el("p", { class: "quiet" }, "This page has the masks of all classes only for the model's own best detections.");
  const [, classes, h, w] = c.classMasks.shape, own = c.labels.at(i), all = unit(c.classMasks.row(place));
  const shown = [...Array(classes).keys()].sort((a, b) => (b === own) - (a === own) || a - b).slice(0, 91);
  return [heading("The masks of all classes"), el("div", { class: "thumbs" }, shown.map((k) => thumb(mapCanvas(all.subarray(k * h * w, (k + 1) * h * w), w, h), className(content, k) + (k === own ? " (used)" : k === 0 ? " (no object has this class: never trained, never used)" : ""))))];
}

// ---- small helpers

const byScore = (scores) => [...scores.data.keys()].sort((a, b) => scores.at(b) - scores.at(a) || a - b);
const argmax = (row) => row.reduce((best, v, i) => (v > row[best] ? i : best), 0);
const ratios = ({ input: i }) => [i.resized[0] / i.original[0], i.resized[1] / i.original[1]];
const proposalBox = (content, i) => content.rpn.clipped.row(content.rpn.proposals.at(i));
const countLine = (n) => [el("output", { id: "shown-count" }, String(n)), ` detection${n === 1 ? "" : "s"}`];

function sliders(view) {
  const { content, state } = view, own = content.model.roi;
  return [slider("score threshold", "score-threshold", state.score, [content.model.floor, 1, 0.01], (v) => view.set("score", v, false)),
    slider("NMS threshold", "nms-threshold", state.nms, [0, 1, 0.01], (v) => view.set("nms", v, false)),
    el("button", { type: "button", class: "plain", id: "own", onclick: () => { Object.assign(state, { score: own.score, nms: own.nms, mask: 0.5 }); view.rebuild(); } }, `the model's own: ${own.score}, ${own.nms}`)];
}

function points(stage, g, i) {
  for (const y of g.pointsY.row(i)) for (const x of g.pointsX.row(i)) stage.dot(x, y, COLOUR.point, 1.7);
}

function candidatesOf(content, row) {
  return [...content.candidates.rows.data.keys()].filter((i) => content.candidates.rows.at(i) === row);
}

function withMasks(view) {
  const { content, state } = view;
  return selectDetections(content, state.score, state.nms).shown.filter((i) => content.candidates.maskRow.has(i));
}

function maskOf(content, i) {
  const c = content.candidates, m = c.masks.shape[1];
  return mapCanvas(c.masks.row(c.maskRow.get(i)), m, m);
}
function binaryMask(content, i, threshold) {
  const c = content.candidates, m = c.masks.shape[1], rgb = hex(COLOUR.mask);
  return mapCanvas(c.masks.row(c.maskRow.get(i)).map((v) => (v > threshold ? 1 : 0)), m, m, (v) => (v ? rgb : [237, 234, 226]));
}

function around(b, [width, height]) {
  const pad = 0.18 * Math.max(b[2] - b[0], b[3] - b[1]) + 3, w = b[2] - b[0] + 2 * pad, h = b[3] - b[1] + 2 * pad, x = (b[0] + b[2]) / 2, y = (b[1] + b[3]) / 2;
  const tall = Math.max(h, w * height / width * 0.9), wide = Math.max(w, tall * width / height);
  return [x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2];
}

// How many boxes of each class non-maximum suppression gets, and how many it leaves.
function comparedByClass(content, outcomes) {
  const c = content.candidates, counts = new Map();
  outcomes.forEach(({ outcome }, i) => {
    if (outcome === "lowScore" || outcome === "small") return;
    const mine = counts.get(c.labels.at(i)) || counts.set(c.labels.at(i), [0, 0]).get(c.labels.at(i));
    mine[0]++;
    if (outcome === "kept") mine[1]++;
  });
  return [...counts].sort((a, b) => a[0] - b[0]).map(([k, [before, after]]) => [className(content, k), before, after]);
}

// How far a level's anchors reach beyond the image, as a share of its longer side.
const overhang = (level, size) => Math.min(0.5, 1.1 * Math.max(...level.cell.flat().map(Math.abs)) / Math.max(...size));

// The weak things first, so that the strong ones lie over them.
const byStrength = (view) => [...view.built.hits].reverse().sort((a, b) => view.strength(a) - view.strength(b));

function anchorHit(view, p, box, details) {
  const { content } = view, r = content.rpn;
  return { key: p, box, text: `${levelName(content, r.levels.at(p))} ${fixed(r.scores.at(p))}`, details };
}

// How the anchors that are taken for objects should move: four charts over the middle 90 %.
function offsetCharts(content, colour) {
  const r = content.rpn, sure = [...r.scores.data.keys()].filter((p) => r.scores.at(p) > 0.5), rows = sure.length >= 10 ? sure : byScore(r.scores).slice(0, 100);
  return [heading(rows === sure ? `Offsets of the ${sure.length} anchors with objectness above 0.5` : `Offsets of the ${rows.length} best anchors`),
    ["dx", "dy", "dw", "dh"].map((name, k) => {
      const { counts, range, outside } = spread(rows.map((p) => r.deltas.row(p)[k]));
      return [el("p", { class: "fine" }, `${name}${outside ? ` (${outside} outside the chart)` : ""}`), histogram([counts], range, [colour], 46, k < 2 ? "sides of the anchor" : "logarithm")];
    })];
}
