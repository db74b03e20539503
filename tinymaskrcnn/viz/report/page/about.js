// Below each step: one question that the page checks, the lesson about it, and the function that
// computes it.

const LESSONS = {
  overview: "tour", picture: "tour", backbone: "backbones", pyramid: "feature_pyramid", anchors: "anchors", objectness: "region_proposals", refine: "region_proposals", proposals: "suppression",
  levels: "roi_align", classes: "box_head", filters: "suppression", masks: "mask_head", result: "tour", truth: "own_pictures", matching: "matching", sampling: "matching", regions: "box_head",
  losses: "training", gradients: "gradients", mistakes: "measuring", weights: "training",
};

function moreAbout(view) {
  const { step, content } = view, code = content.code[step.id], ask = QUESTIONS[step.id]?.(content);
  return [ask && question(ask), el("p", { class: "fine", id: "lesson" }, "The lesson about it: ", el("b", {}, LESSONS[step.id].replaceAll("_", " ")), " (", el("code", {}, `tinymaskrcnn learn ${LESSONS[step.id]}`), ")"),
    code && el("details", { id: "code" }, el("summary", {}, "Show the code: ", el("code", {}, code.name)), el("p", { class: "fine" }, code.file), el("pre", { tabindex: 0 }, code.source))].filter(Boolean);
}

function question({ ask, options, right, why }) {
  const answer = el("p", { class: "answer", "aria-live": "polite" });
  const buttons = options.map((text) => el("button", { type: "button", "aria-pressed": "false", onclick: () => {
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.textContent === text));
    answer.className = `answer ${text === right ? "right" : "wrong"}`;
    answer.textContent = `${text === right ? "Right." : "Not so."} ${why}`;
  } }, text));
  return el("section", { class: "question", "aria-label": "a question" }, el("p", {}, ask), el("div", { class: "choice" }, buttons), answer);
}

// Questions about this image and this model; null where it has nothing to ask about.
const QUESTIONS = {
  anchors: (c) => {
    const c0 = c.candidates.kept[0], box = c0 === undefined ? null : c.candidates.boxes.row(c0);
    if (!box) return null;
    const side = Math.sqrt((box[2] - box[0]) * (box[3] - box[1])), far = c.anchors.map((l) => Math.min(...l.sizes.map((s) => Math.abs(Math.log(s / side)))));
    return { ask: `The ${className(c, c.candidates.labels.at(c0))} has the size of a square of ${fixed(side, 0)} pixels. Which level's anchors come closest?`, options: c.anchors.map((_, i) => levelName(c, i)),
      right: levelName(c, far.indexOf(Math.min(...far))), why: `The levels' anchors have the sizes ${c.anchors.map((l, i) => `${levelName(c, i)}: ${l.sizes.map((s) => fixed(s, 0)).join(" and ")}`).join(", ")}.` };
  },
  objectness: (c) => {
    const all = c.anchors.reduce((s, l) => s + l.rows * l.columns * l.cell.length, 0), sure = c.anchors.reduce((s, l) => s + l.logits.data.reduce((n, v) => n + (v > 0), 0), 0);
    const text = (n) => n.toLocaleString("en"), others = [Math.round(all / 2), Math.round(all * 0.9)].filter((n) => Math.abs(n - sure) > all * 0.1);
    return others.length < 2 ? null : { ask: `Of the ${text(all)} anchors, how many does this network take for objects (objectness above one half)?`, options: [text(sure), ...others.map((n) => `about ${text(n)}`)], right: text(sure), why: "Nearly all of an image is background. That is why training has to choose its examples." };
  },
  refine: () => ({ ask: "An anchor is 40 pixels wide and gets dw = 0.69, which is ln 2. How wide is its box?", options: ["40.69 pixels", "67.6 pixels", "80 pixels"], right: "80 pixels", why: "dw is a logarithm: the new width is 40 × exp(0.69)." }),
  proposals: (c) => {
    const r = c.rpn, p = [...r.outcomes.data].findIndex((o, i) => o === 3 && r.suppressors.at(i) >= 0);
    if (p < 0) return null;
    const by = r.suppressors.at(p), [a, b] = [by, p].map((i) => fixed(r.scores.at(i), 3));
    if (a === b) return null;
    return { ask: `Two boxes of ${levelName(c, r.levels.at(p))} overlap by IoU ${fixed(overlap(r.clipped.row(p), r.clipped.row(by)))}; the threshold is ${c.model.rpn.nms}. Their scores are ${b} and ${a}. What stays?`, options: [`the one with ${b}`, `the one with ${a}`, "both"], right: `the one with ${a}`, why: "They overlap by more than the threshold, so only the one with the higher score stays." };
  },
  levels: (c) => ({ ask: "A box of 300 × 300 pixels: which level is it cropped from?", options: pooledStrides(c).map((_, i) => levelName(c, i)), right: levelName(c, levelOf(c, [0, 0, 300, 300])), why: `${levelText(c, [0, 0, 300, 300])}.` }),
  filters: (c) => c.model.classes.length < 2 ? null : ({ ask: `A ${c.model.classes[0]} (0.98) and a ${c.model.classes[1]} (0.95) overlap by IoU 0.9. What does this model keep?`, options: ["both", `only the ${c.model.classes[0]}`], right: c.model.roi.agnostic ? `only the ${c.model.classes[0]}` : "both",
    why: c.model.roi.agnostic ? "This model compares boxes of all classes." : "Suppression compares boxes of one class only: one place can give two classes." }),
  masks: (c) => ({ ask: "The network predicts a mask for every class. Which one is pasted?", options: ["the one with the most pixels", "that of the box's class", "their mean"], right: "that of the box's class", why: "The class head decides; the mask branch only answers “which pixels, if it is that class?”" }),
  matching: (c) => {
    const { foreground: high, background: low } = c.model.rpn, iou = (high + low) / 2;
    return { ask: `An anchor overlaps its object by IoU ${fixed(iou)}, and another anchor overlaps it more. What is it?`, options: ["positive", "ignored", "background"], right: "ignored", why: `It lies between ${low} and ${high}: neither a good example of an object nor of background.` };
  },
  regions: (c) => ({ ask: `A proposal overlaps an object by IoU ${fixed(c.model.roi.foreground - 0.05)}. What does it teach?`, options: ["the object's class", "background", "nothing"], right: "background", why: `Below ${c.model.roi.foreground} a region is background, even if half of it is the object.` }),
  losses: () => ({ ask: "Which losses does a background region add to?", options: ["classes", "classes and boxes", "classes, boxes and masks"], right: "classes", why: "Background has no box to move to and no mask." }),
  mistakes: () => ({ ask: "Two detections of the right class lie well on one object. What is the one with the lower score?", options: ["right as well", "a duplicate", "a location error"], right: "a duplicate", why: "Each object can be taken once, by the highest score." }),
};
