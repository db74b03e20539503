/* Python for a page (run.js): starts Pyodide, runs what the page sends, and posts what comes out. A
   page ends an endless loop by ending this worker. */
let page;
const post = (kind, text, more = "") => self.postMessage({ kind, text, more });

async function bytes(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
}

async function start({ pyodide, packages, archives, files, folder }) {
  const { loadPyodide } = await import(new URL("pyodide.mjs", pyodide).href)
    .catch(() => { throw new Error(`there is no Pyodide at ${pyodide}`); });
  const [python, ...archived] = await Promise.all([
    loadPyodide({ indexURL: pyodide }), ...archives.map(bytes)]);
  post("state", "Loading NumPy …");
  for (const name of packages) {
    await python.loadPackage(name, { messageCallback: () => {}, errorCallback: console.warn });
  }
  for (const archive of archived) python.unpackArchive(archive, "zip", { extractDir: "/course" });
  for (const [path, address] of Object.entries(files)) {
    python.FS.mkdirTree(`/course/${path}`.replace(/\/[^/]*$/, ""));
    python.FS.writeFile(`/course/${path}`, new Uint8Array(await bytes(address)));
  }
  python.FS.chdir(`/course/${folder}`);
  python.runPython("import sys; sys.path.insert(0, '/course')");
  page = python.pyimport("lessons.site.in_page").Page(post);
}

self.onmessage = async ({ data: { call, words } }) => {
  try {
    if (call === "start") await start(words);
    const right = call === "start" || page[call](...words);
    post("done", right ? "right" : "wrong");
  } catch (problem) {
    const text = String(problem.message || problem.name || problem).trim();
    post("error", text.split("\n").at(-1), text);
    post("done", "wrong");
  }
};
