// The five losses: one vocabulary and one set of bars for both pages.

const LOSS_NAMES = { loss_objectness: "objectness", loss_rpn_box_reg: "RPN boxes", loss_classifier: "classes", loss_box_reg: "boxes", loss_mask: "masks" };

function lossBars(losses, colours, most, digits, pick, picked) {
  return bars(Object.entries(losses).map(([key, v]) => [LOSS_NAMES[key], v || 0, fixed(v, digits), colours[key], key]), most, pick, picked);
}
