// Shows the value nearest to the pointer; the figures carry their values in data-hover: [x, y, text] in viewBox units.
const tip = document.createElement("div");
tip.className = "tip";
document.body.append(tip);
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const points = JSON.parse(svg.dataset.hover);
  svg.addEventListener("pointermove", (event) => {
    const at = svg.getScreenCTM().inverse();
    const x = at.a * event.clientX + at.e, y = at.d * event.clientY + at.f;
    let nearest = 26, text = "";
    for (const [px, py, said] of points) {
      const far = Math.hypot(px - x, py - y);
      if (far < nearest) [nearest, text] = [far, said];
    }
    tip.textContent = text;
    tip.style.display = text ? "block" : "none";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
  });
  svg.addEventListener("pointerleave", () => { tip.style.display = "none"; });
}
