/* A figure opens at its full size when it is clicked, tapped, or chosen with Enter. */
document.addEventListener("DOMContentLoaded", () => {
  const large = document.createElement("dialog");
  large.className = "figure-large";
  large.setAttribute("aria-label", "The figure at its full size");
  large.addEventListener("click", () => large.close());
  document.addEventListener("keydown", (key) => key.key === "Escape" && large.close());
  document.body.append(large);
  for (const figure of document.querySelectorAll(".cell_output img")) {
    const open = () => {
      large.replaceChildren(Object.assign(new Image(), { src: figure.src, alt: figure.alt }));
      large.showModal();
    };
    figure.tabIndex = 0;
    figure.setAttribute("role", "button");
    figure.title = "Show the figure at its full size";
    figure.addEventListener("click", open);
    figure.addEventListener("keydown", (key) => key.key === "Enter" && open());
  }
});
