// The heads' weights at a few moments of learning, so that one can go back and forth through it: at
// most eight, evenly spread over the steps so far, the first and the newest among them.

const MOST_MOMENTS = 8;

class Moments {
  constructor(training) {
    this.training = training;
    this.restart();
  }

  // From here on learning counts anew.
  restart() { Object.assign(this, { kept: new Map(), newest: 0, shown: 0, every: 1, loose: null }); }

  // The steps that one can go to, ascending.
  get steps() { return [...new Set([...this.kept.keys(), this.newest])]; }

  // Called before and after each step of learning.
  before() { if (!this.kept.size) this.kept.set(0, this.copy()); }

  after() {
    this.kept.delete(this.loose); // the newest was kept only to come back to
    this.loose = null;
    this.shown = ++this.newest;
    if (this.newest % this.every === 0) this.kept.set(this.newest, this.copy());
    if (this.kept.size < MOST_MOMENTS) return;
    this.every *= 2;
    for (const step of this.kept.keys()) if (step % this.every) this.kept.delete(step);
  }

  // Give the heads the weights of a step: the last one kept up to it. Says whether they changed.
  visit(step) {
    const to = this.steps.findLast((kept) => kept <= step) ?? 0;
    if (to === this.shown) return false;
    if (this.shown === this.newest && !this.kept.has(this.newest)) this.kept.set((this.loose = this.newest), this.copy());
    this.training.put(this.kept.get(to));
    this.shown = to;
    return true;
  }

  copy() { return Object.fromEntries(Object.keys(this.training.heads).map((part) => [part, this.training.weights(part)])); }
}
