(async () => {
  const model = new Asking();
  const { config } = await model.ask("load", document.getElementById("data").textContent);
  window.page = { model, config };
})();
