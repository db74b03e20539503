// The model's worker, made of the engine's own text, so that it also starts from file://.

class Asking {
  constructor() {
    const source = new Blob([document.getElementById("engine").textContent], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(source));
    this.waiting = new Map();
    this.number = 0;
    this.worker.onmessage = ({ data: { number, answer, problem } }) => {
      const { done, failed } = this.waiting.get(number);
      this.waiting.delete(number);
      if (problem) failed(new Error(problem)); else done(answer);
    };
  }

  // The answer to one of the worker's questions (worker.js).
  ask(what, about) {
    const number = ++this.number;
    this.worker.postMessage({ number, ask: what, about });
    return new Promise((done, failed) => this.waiting.set(number, { done, failed }));
  }
}
