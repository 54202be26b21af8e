// Drawings of states, as data from the environment. A graph: nodes with their places from 0 to 1, edges, and what is marked.
// A grid of digits in boxes.
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

function drawGrid({ box, given, digits }) {
  const size = Math.sqrt(digits.length);
  const at = (k) => (1 + (k * (SIDE - 2)) / size).toFixed(1);
  const lines = [...Array(size + 1).keys()].flatMap((k) => [
    svgElement("line", { x1: at(k), y1: at(0), x2: at(k), y2: at(size), class: k % box[1] ? "plain" : "edge" }),
    svgElement("line", { x1: at(0), y1: at(k), x2: at(size), y2: at(k), class: k % box[0] ? "plain" : "edge" }),
  ]);
  const texts = digits.map((digit, cell) => {
    const place = { x: at((cell % size) + 0.5), y: at(Math.floor(cell / size) + 0.5) };
    return svgElement("text", { ...place, class: given[cell] ? "given" : "filled" }, digit ? String(digit) : "");
  });
  const words = `grid: ${digits.filter((digit) => digit).length} of ${digits.length} cells are full`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": words }, ...lines, ...texts);
}

function draw(drawing) {
  return { graph: drawGraph, grid: drawGrid }[drawing.kind](drawing);
}
