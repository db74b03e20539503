/* Buttons to run and change a lesson's cells, and to check exercises, in the reader's browser. Nothing
   of Python is loaded before one of them is pressed; run_worker.js then has it, in a worker. */
(() => {
  const script = document.currentScript;
  const site = new URL("..", script.src);
  const asked = new URLSearchParams(location.search).get("pyodide");
  const pyodide = new URL(asked || script.dataset.pyodide, site).href.replace(/\/?$/, "/");
  const [, folder, name] = location.pathname.match(/(exercises\/)?(\w+)\.html$/) || [];
  const WHY_NOT = {
    "16b_two_systems": "it evaluates two models ten times, which takes minutes without compiled kernels",
    "17_fast_cpu": "it measures compiled kernels, and Numba does not run in a browser",
    "18_gpu_kernels": "it reads kernels of Numba, which does not run in a browser",
  };
  const MODELS = ["shapes", "nuclei"];

  /* The worker: one call at a time. */

  let worker = null, answer = null, bar;

  function call(name, words, receive) {
    return new Promise((resolve) => {
      answer = (message) => {
        if (message.kind !== "done") return receive(message);
        answer = null;
        return resolve(message.text);
      };
      worker.postMessage({ call: name, words });
    });
  }

  function started(receive) {
    if (worker) return "right";
    worker = new Worker(new URL("run_worker.js", script.src), { type: "module" });
    worker.onmessage = ({ data }) => answer?.(data);
    worker.onerror = () => { receive({ kind: "error", text: "Python could not be started", more: "" }); stop(); };
    const text = cells.map((cell) => cell.code).join("\n");
    const weights = MODELS.filter((model) => text.includes(`"${model}"`));
    return call("start", {
      pyodide,
      folder: folder ? "" : "lessons", // where a clone's commands and notebooks are started
      packages: ["numpy", "pillow", "matplotlib"],
      archives: [new URL("run/course.zip", site).href, ...(folder ? [new URL("run/checks.zip", site).href] : [])],
      files: Object.fromEntries(weights.map((model) => [
        `tinymaskrcnn/pretrained/${model}.safetensors`, new URL(`run/${model}.safetensors`, site).href])),
    }, receive);
  }

  function stop() {
    worker?.terminate();
    worker = null;
    for (const cell of cells) cell.ran = false;
    answer?.({ kind: "done", text: "stopped" });
  }

  /* What is going on, and how long already. */

  function say(text) {
    if (!bar) {
      bar = element("div", "run-bar", document.body);
      bar.words = element("span", "", bar);
      bar.words.setAttribute("role", "status");
      bar.seconds = element("span", "run-seconds", bar);
      button(bar, "Stop", "end what is running; what the cells above defined is gone", stop);
      setInterval(() => { bar.seconds.textContent = `${Math.round((Date.now() - bar.since) / 1000)} s`; }, 500);
    }
    bar.hidden = !text;
    if (text && bar.words.textContent !== text) { bar.since = Date.now(); bar.seconds.textContent = ""; }
    bar.words.textContent = text;
  }

  async function working(text, cell, call) {
    if (location.protocol === "file:") {
      cell.clear();
      return cell.receive({ kind: "error", more: "", text: "A browser runs no code in a page that was opened as a file.\n"
        + "In the site's folder, start: python -m http.server\nThen open http://localhost:8000" });
    }
    if (answer) return "busy";
    document.body.classList.add("running");
    const receive = (message) => (message.kind === "state" ? say(message.text) : cell.receive(message));
    if (!worker) { cell.clear(); say("Loading Python …"); }
    let result = await started(receive);
    if (result !== "right") { worker?.terminate(); worker = null; }
    if (result === "right") { say(text); result = await call(); }
    document.body.classList.remove("running");
    say("");
    return result;
  }

  /* A piece of code in the page: its text, its buttons, its output. */

  class Cell {
    constructor(input, place, title, key) {
      const shown = input.querySelector("pre");
      Object.assign(this, { input, title, key, original: shown.textContent.trimEnd(), ran: false });
      this.shown = input.querySelector(".highlight") || shown;
      this.tools = element("div", "run-tools", null);
      place.after(this.tools);
      this.state = element("span", "run-state", this.tools);
      this.state.setAttribute("role", "status");
      this.output = element("div", "run-output", null);
      this.editor = null;
      const kept = kept_text(this.key);
      if (kept !== null) this.edit(kept);
    }

    get code() { return this.editor ? this.editor.value : this.original; }

    edit(text = this.original) {
      if (this.editor) return this.editor;
      this.editor = element("textarea", "run-editor", null);
      this.shown.after(this.editor);
      this.shown.hidden = true;
      Object.assign(this.editor, { value: text, spellcheck: false, autocapitalize: "off" });
      this.editor.setAttribute("aria-label", `Code of ${this.title}`);
      this.editor.addEventListener("input", () => { this.ran = false; this.fit(); keep_text(this.key, this.code, this.original); });
      this.editor.addEventListener("keydown", (key) => this.typed(key));
      this.reset ||= button(this.tools, "Reset", `bring back ${this.title} as it was`, () => {
        this.editor.value = this.original;
        this.editor.dispatchEvent(new Event("input"));
      });
      this.fit();
      return this.editor;
    }

    fit() { this.editor.rows = this.editor.value.split("\n").length; }

    /* Shift and Enter runs; Enter keeps the indentation. */
    typed(key) {
      if (key.key !== "Enter" || key.isComposing) return;
      key.preventDefault();
      if (key.shiftKey || key.ctrlKey) { this.main(); return; }
      const before = this.code.slice(0, this.editor.selectionStart).split("\n").at(-1);
      const deeper = before.trimEnd().endsWith(":") ? "    " : "";
      document.execCommand("insertText", false, `\n${before.match(/^ */)[0]}${deeper}`);
    }

    clear() { this.output.replaceChildren(); this.state.textContent = ""; this.output.hidden = false; }

    receive({ kind, text, more }) {
      if (kind === "text") return this.print(text);
      if (kind === "figure") {
        const figure = element("figure", "", this.output);
        Object.assign(element("img", "", figure), { src: text, alt: more });
        element("figcaption", "", figure).textContent = more;
      } else if (kind === "source") {
        const code = element("details", "run-source", this.output);
        element("summary", "", code).textContent = more;
        element("pre", "", code).textContent = text.trimEnd();
      } else if (kind === "error") {
        const [what, ...where] = text.split("\n");
        const problem = element("div", "run-error", this.output);
        problem.setAttribute("role", "alert");
        element("strong", "", problem).textContent = what;
        if (where.length) element("pre", "", problem).textContent = where.join("\n");
        if (more.trim() && more.trim() !== what) {
          const trace = element("details", "", problem);
          element("summary", "", trace).textContent = "The whole trace";
          element("pre", "", trace).textContent = more.trimEnd();
        }
      }
      return null;
    }

    print(text) {
      let lines = this.output.lastElementChild;
      if (!lines?.matches("pre")) lines = element("pre", "", this.output);
      lines.textContent = (lines.textContent + text).replace(/[^\n]*\r(?!\n)/g, "");
    }
  }

  /* Lessons: a cell needs those above it. */

  async function run(cell) {
    const upto = cells.indexOf(cell);
    const result = await working("Running …", cell, async () => {
      for (const [i, one] of cells.entries()) {
        if (i > upto || (one.ran && one !== cell)) continue;
        say(`Running ${one.title} …`);
        one.clear();
        one.static_output.forEach((shown) => { shown.hidden = true; });
        const begun = performance.now();
        const ended = await call("run", [one.title, one.code], (message) => one.receive(message));
        one.ran = ended === "right";
        one.state.textContent = { right: `ran in ${seconds(begun)}`, wrong: "failed", stopped: "stopped" }[ended];
        if (ended === "wrong" && one !== cell) {
          cell.clear();
          cell.state.textContent = `not run: ${one.title} above failed`;
        }
        if (ended !== "right") return ended;
      }
      return "right";
    });
    if (result === "stopped" && !cell.state.textContent) cell.state.textContent = "stopped";
  }

  const seconds = (begun) => `${((performance.now() - begun) / 1000).toFixed(1)} s`;

  function lesson(blocks) {
    for (const [i, block] of blocks.entries()) {
      const input = block.querySelector(".cell_input");
      const cell = new Cell(input, input, `cell ${i + 1}`, null);
      cell.static_output = [...block.querySelectorAll(".cell_output")];
      block.append(cell.output);
      cell.main = () => run(cell);
      button(cell.tools, "Run", `run ${cell.title}, and before it those above that have not run`, cell.main);
      button(cell.tools, "Edit", `change the code of ${cell.title}`, () => cell.edit().focus());
      cells.push(cell);
    }
  }

  /* Exercises: the file is made of all blocks. */

  async function ask(cell, method, text) {
    const file = cells.map((one) => one.code).join("\n\n\n") + "\n";
    const result = await working(text, cell, () => {
      cell.clear();
      return call(method, [`${name}.py`, file, cell.title], (message) => cell.receive(message));
    });
    if (result === "busy" || method === "hint") return;
    cell.state.textContent = { right: "done", wrong: "not right yet", stopped: "stopped: does the loop end?" }[result];
  }

  function exercises(blocks) {
    for (const block of blocks) {
      const title = block.closest("section")?.querySelector(":scope > h2")?.firstChild?.textContent;
      const cell = new Cell(block, block, title || "the beginning", title ? `tinymaskrcnn: ${title}` : null);
      cells.push(cell);
      if (!title) { cell.tools.remove(); continue; }
      cell.edit(cell.code);
      cell.tools.after(cell.output);
      cell.main = () => ask(cell, "check", `Checking ${title} …`);
      button(cell.tools, "Check", `check ${title}`, cell.main);
      button(cell.tools, "Hint", `one more hint for ${title}`, () => ask(cell, "hint", "Looking for a hint …"));
    }
  }

  /* Small things. */

  const cells = [];

  function element(kind, style, parent) {
    const made = document.createElement(kind);
    if (style) made.className = style;
    parent?.append(made);
    return made;
  }

  function button(parent, text, title, pressed) {
    const made = element("button", "", null);
    Object.assign(made, { type: "button", textContent: text, title });
    made.addEventListener("click", pressed);
    const state = parent.querySelector(".run-state");
    state ? state.before(made) : parent.append(made);
    return made;
  }

  /* Answers stay in the browser; storage may be forbidden. */
  function kept_text(key) {
    try { return key && localStorage.getItem(key); } catch { return null; }
  }

  function keep_text(key, text, original) {
    try {
      if (key && text === original) localStorage.removeItem(key);
      else if (key) localStorage.setItem(key, text);
    } catch { /* then not */ }
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!/^\d\d\w?_/.test(name || "")) return;
    const article = document.querySelector("article");
    if (WHY_NOT[name] && !folder) {
      const note = element("p", "run-note", null);
      note.textContent = `This lesson does not run in a browser: ${WHY_NOT[name]}. `;
      note.append("In a clone, ", Object.assign(element("code", "", null), { textContent: `python lessons/${name}.py` }), " runs it.");
      article.querySelector("h1").after(note);
    } else if (folder) exercises(article.querySelectorAll("div.highlight-python"));
    else lesson(article.querySelectorAll("div.cell:has(.cell_input pre)"));
  });
})();
