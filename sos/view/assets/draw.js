// Drawings of states, as data from the environment. A graph: nodes with their places from 0 to 1, edges, and what is marked.
const SIDE = 100;
const RADIUS = 6;
const SVG = document.getElementById("view").content.querySelector("svg").namespaceURI;

function svgElement(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawGraph({ nodes, edges, current, target, visited = [] }) {
  const at = (share) => (RADIUS + 1 + share * (SIDE - 2 * RADIUS - 2)).toFixed(1);
  const places = new Map(nodes.map(({ id, x, y }) => [id, [at(x), at(y)]]));
  const walked = new Set(visited.slice(1).flatMap((id, k) => [`${visited[k]} ${id}`, `${id} ${visited[k]}`]));
  const drawn = edges.filter(([a, b]) => places.has(a) && places.has(b));
  const lines = drawn.map(([a, b]) => {
    const [[x1, y1], [x2, y2]] = [places.get(a), places.get(b)];
    return svgElement("line", { x1, y1, x2, y2, class: walked.has(`${a} ${b}`) ? "walked" : "plain" });
  });
  const circles = nodes.map(({ id }) => {
    const [x, y] = places.get(id);
    const marks = { current: id === current, target: id === target, visited: visited.includes(id) };
    const names = Object.keys(marks).filter((name) => marks[name]);
    const label = svgElement("text", { x, y }, String(id));
    return svgElement("g", { class: names.join(" "), "data-id": id }, svgElement("circle", { cx: x, cy: y, r: RADIUS }), label);
  });
  const words = `graph: at ${current}, to ${target}`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": words }, ...lines, ...circles);
}

function draw(drawing) {
  return { graph: drawGraph }[drawing.kind](drawing);
}
